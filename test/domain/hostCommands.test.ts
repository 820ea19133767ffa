/** Holds: docs/host-commands.md tells every program that runs on a host, and every command line of ours. */
import { assert, describe, it } from "@effect/vitest"
import { assertText } from "./golden.ts"
import { document, driverFiles, rows, toolsOf } from "./hostCommands.ts"

describe("docs/host-commands.md", () => {
  it("is up to date", () => {
    assertText(new URL("../../docs/host-commands.md", import.meta.url).pathname, document())
  })
  it("finds programs wherever a command may stand", () => {
    const script = `# curl in a comment
set -eu; a=$(mktemp -d) && A=1 B="x y" oras blob | grep -q rm
if ! systemctl x; then sleep 1; else { ln -s a b; }; fi
while timeout 5 tail -f x; do touch y || exec chmod 1 z; done
case $x in a) kill 1 ;; esac
echo "sed awk"; "$k0s" reset`
    const wanted = [
      "chmod",
      "grep",
      "k0s",
      "kill",
      "ln",
      "mktemp",
      "oras",
      "sleep",
      "systemctl",
      "tail",
      "timeout",
      "touch"
    ]
    assert.deepStrictEqual(toolsOf(script), wanted)
  })
  it("knows what each part needs", () => {
    const tools = Object.fromEntries(rows().map((row) => [`${row.step.name}, ${row.when}`, toolsOf(row.step.script)]))
    assert.deepStrictEqual(tools["download k0s, `downloadURL` is oci"], [
      "chmod",
      "mkdir",
      "mktemp",
      "mv",
      "oras",
      "rm"
    ])
    assert.includeMembers([...(tools["start k0s, always"] ?? [])], ["systemctl", "rc-service", "service"])
    assert.isAbove(driverFiles().length, 0)
  })
})
