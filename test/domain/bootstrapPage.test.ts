/**
 * Holds docs/bootstrap-provider.md to the code: every example is rendered (`machinist render`) and run, every field of the
 * kind has its row, and what it says of limits and waits is so.
 */
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import { MAX_DATA_BYTES, TOO_LARGE } from "../../src/domain/BootstrapData.ts"
import { MAX_COMMAND_BYTES, SENTINEL_PATH } from "../../src/domain/bootstrap/CommonInput.ts"
import { K0S_WAIT_SECONDS, NODE_READY_WAIT_SECONDS } from "../../src/domain/bootstrap/CommonSteps.ts"
import { BOOTSTRAP_LOG } from "../../src/domain/bootstrap/Frame.ts"
import { BOOTSTRAP_UNIT, ignitionContents } from "../../src/domain/bootstrap/Ignition.ts"
import { parseCloudConfig } from "../../src/domain/CloudConfig.ts"
import { ran, test } from "../support/rendering.ts"
import { read } from "../tidy/Tree.ts"
import { boot, ready, type ScriptHost } from "./ScriptHost.ts"

const page = read("docs/bootstrap-provider.md").text
const examples = [...page.matchAll(/```yaml\n(.*?)```/gs)].map(([, yaml = ""]) => ({
  name: /name: (\S+)/.exec(yaml)?.[1] ?? "",
  yaml
}))

/** What is to be seen on the host afterwards. */
const SEEN: Readonly<Record<string, (host: ScriptHost) => void>> = {
  worker: (host) => {
    assert.include(host.read("/etc/app/app.conf"), "name = \"größe\" # any text: {{ }}, $HOME, 'quotes'")
    assert.strictEqual(host.read("/etc/app/motd"), "welcome")
    assert.isTrue(
      host.log().some((line) => line.includes("--node-ip=127.0.0.9") && line.includes("--labels=tier=edge"))
    )
  },
  mirror: (host) => {
    assert.isTrue(host.exists("/opt/bin/k0s"))
    assert.isTrue(host.exists("/etc/machine/k0s.token"))
    assert.isFalse(host.exists("/etc/machine/k0s.download"))
    assert.notInclude(host.log().join("\n"), "--hostname-override")
  },
  custom: (host) => assert.strictEqual(host.read("/etc/mine"), "hello")
}

describe("the page's examples", () => {
  it("are all looked at", () =>
    assert.deepStrictEqual(
      examples.map(({ name }) => name),
      [...Object.keys(SEEN), "flatcar"]
    ))
  for (const { name, yaml } of examples)
    test(
      name,
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const file = `${yield* fs.makeTempDirectoryScoped()}/${name}.yaml`
        yield* fs.writeFileString(file, yaml)
        const { error, out } = yield* ran("--f", file, "--json")
        assert.isUndefined(error)
        const [made] = JSON.parse(out)
        if (made.format === "ignition") {
          assert.strictEqual(JSON.parse(made.data).ignition.version, "3.4.0")
          const contents = ignitionContents(Buffer.from(made.data))
          assert.include(Buffer.from(contents.get("/etc/sysctl.d/90-inotify.conf") ?? []).toString(), "inotify")
          return
        }
        using host = ready()
        // What is downloaded is the binary itself.
        if (name === "mirror") host.write("/stash/installer", host.read("/stash/k0s"))
        if (name === "custom") host.write("/usr/local/bin/k0s", host.read("/stash/k0s"), 0o755)
        const outcome = boot(host, Result.getOrThrow(parseCloudConfig(Buffer.from(made.data))))
        assert.strictEqual(outcome.code, 0, outcome.stderr)
        assert.isTrue(host.exists(SENTINEL_PATH))
        SEEN[name]?.(host)
      })
    )
})

describe("what the page says", () => {
  it("names every field of the spec", () => {
    const reference = read("docs/reference/K0sWorkerConfig.md").text
    const fields = [...reference.matchAll(/^\| `spec\.([a-zA-Z0-9]+)[^`]*` \|/gm)].map(([, field = ""]) => field)
    const table = page.split("## Every field")[1] ?? ""
    for (const field of new Set(fields)) assert.include(table, `\`${field}`, field)
  })
  it("numbers, paths and reasons are those of the code", () => {
    assert.strictEqual(K0S_WAIT_SECONDS, 5 * 60)
    assert.strictEqual(NODE_READY_WAIT_SECONDS, 2 * 60)
    assert.strictEqual(MAX_COMMAND_BYTES, 120 * 1024)
    assert.isAtLeast(MAX_DATA_BYTES, 1024 * 1023)
    for (const text of [
      "at most 5 minutes",
      "at most 2 minutes",
      "120 KiB",
      "1 MiB",
      BOOTSTRAP_LOG,
      BOOTSTRAP_UNIT,
      SENTINEL_PATH,
      TOO_LARGE
    ])
      assert.include(page, text)
    // Every reason that it explains is one that the code gives.
    const code = ["src/actors", "src/domain"].flatMap((directory) =>
      spawnSync("grep", ["-rhoE", '"[A-Z][A-Za-z]+"', directory], { encoding: "utf8" }).stdout.split("\n")
    )
    const reasons = [...(page.split("## When it waits")[1] ?? "").matchAll(/^\| (`[^|]+) \|/gm)].flatMap(
      ([, cell = ""]) => [...cell.matchAll(/`([A-Z][A-Za-z]+)`/g)].map(([, reason = ""]) => reason)
    )
    assert.isAbove(reasons.length, 8)
    const known = (reason: string) =>
      code.includes(`"${reason}"`) ||
      code.includes(`"${reason.replace(/^WaitingFor/, "")}"`) ||
      code.includes(`"${reason.replace(/NotFound$/, "")}"`)
    assert.deepStrictEqual(
      reasons.filter((reason) => !known(reason)),
      []
    )
  })
  it("the commands that it shows are there", () => {
    for (const [, file = ""] of page.matchAll(/-f (examples\/\S+)/g)) assert.isTrue(existsSync(file), file)
  })
})
