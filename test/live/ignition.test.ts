/**
 * Holds, with Debian's real Ignition and a real systemd: what we render is a config that Ignition takes, its files stage
 * writes it, and at boot the unit runs the steps once, in order, until one fails. Additional Butane configuration is part
 * of it.
 */
import { globSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { bootstrapData } from "../../src/domain/BootstrapData.ts"
import type { WorkerBootstrapInput } from "../../src/domain/BootstrapScript.ts"
import { BOOTSTRAP_UNIT } from "../../src/domain/bootstrap/Ignition.ts"
import { payloadOf } from "../support/pageExamples.ts"
import { hasSentinel, readLog } from "./cloudinit/CloudInit.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

/** Debian has it for its initramfs only; the number differs between releases. */
const IGNITION = globSync("/usr/lib/dracut/modules.d/*ignition/ignition")[0] ?? ""
const unavailable =
  TestHosts.systemdUnavailable ??
  (IGNITION !== "" ? undefined : "missing ignition: run scripts/install-test-packages.sh")

const rendered = (input: Partial<WorkerBootstrapInput>, additionalConfig?: string): Uint8Array => {
  const payload = payloadOf({
    machineName: "machine-test-0",
    joinToken: TestHosts.joinToken(),
    waits: { k0sSeconds: 60, nodeReadySeconds: 30 },
    ...input
  })
  const ignition = { variant: "fcos", version: "1.4.0", additionalConfig }
  return Result.getOrThrow(bootstrapData(payload, { ignition })).value
}

/** Ignition's stages that touch files, on the host's own root, then what a first boot does with units. */
const firstBoot = Effect.fnUntraced(function* (host: TestHosts.TestHost, config: Uint8Array) {
  yield* TestHosts.writeFile(host, "/root/config.ign", config)
  yield* TestHosts.execOk(host, "ignition-validate /root/config.ign")
  // Its last act is to label what it wrote, of which this kernel knows nothing.
  yield* TestHosts.writeFile(host, "/etc/selinux/config", "SELINUX=disabled\nSELINUXTYPE=targeted\n")
  yield* TestHosts.writeFile(host, "/usr/local/sbin/setfiles", "#!/bin/sh\ncat >/dev/null\n", "0755")
  for (const stage of ["fetch", "files"])
    yield* TestHosts.execOk(
      host,
      `IGNITION_CONFIG_FILE=/root/config.ign ${IGNITION} -platform file -stage ${stage} -root / -log-to-stdout`
    )
  yield* TestHosts.execOk(host, `systemctl daemon-reload && systemctl preset ${BOOTSTRAP_UNIT}`)
  return (yield* TestHosts.exec(host, `systemctl start ${BOOTSTRAP_UNIT}`)).code
})

const one = Effect.flatMap(TestHosts.systemd(1), ([host]) =>
  host === undefined ? Effect.die("no host") : Effect.succeed(host)
)
const heard = (host: TestHosts.TestHost) =>
  Effect.map(TestHosts.witness(host), (lines) => lines.map((line) => `${line.what} ${line.args}`.trim()))

const ADDITIONAL = `variant: fcos
version: 1.4.0
storage:
  files:
    - path: /etc/motd.d/ours
      mode: 0600
      contents: {inline: "größe\\n"}
  directories:
    - path: /srv/data
  links:
    - {path: /etc/motd.link, target: /etc/motd.d/ours}
systemd:
  units:
    - name: theirs.service
      enabled: true
      contents: |
        [Service]
        ExecStart=/usr/local/bin/witness theirs
`

describe.skipIf(unavailable !== undefined)(`real Ignition ${unavailable ?? ""}`, () => {
  it.live("runs once, in order, with the additional configuration beside it", () =>
    Effect.gen(function* () {
      const host = yield* one
      const data = rendered(
        {
          files: [{ path: "/etc/app/quote's", content: Uint8Array.of(0, 255, 10), permissions: "0640" }],
          preStartCommands: ["witness pre $(id -u) {{ x }}", "echo 'A=b c' >>/etc/environment"],
          postStartCommands: ['witness post "$A"']
        },
        ADDITIONAL
      )
      assert.strictEqual(yield* firstBoot(host, data), 0)
      assert.isTrue(yield* hasSentinel(host))
      assert.strictEqual((yield* readLog(host)).at(-1), "all steps succeeded")
      const did = yield* heard(host)
      assert.strictEqual(did[0], "pre 0 {{ x }}")
      assert.strictEqual(did.at(-1), "post b c")
      const file = "'/etc/app/quote'\\''s'"
      assert.strictEqual(
        yield* TestHosts.execOk(host, `od -An -tu1 ${file} | tr -s ' '; stat -c %a ${file} /etc/k0s.token`),
        " 0 255 10\n640\n600\n"
      )
      assert.strictEqual(
        yield* TestHosts.execOk(host, "cat /etc/motd.link; stat -c %a /etc/motd.d/ours"),
        "größe\n600\n"
      )
      yield* TestHosts.execOk(host, "test -d /srv/data && systemctl cat theirs.service")

      // A boot later nothing of it runs again.
      yield* TestHosts.reboot(host)
      yield* TestHosts.execOk(host, `systemctl start ${BOOTSTRAP_UNIT}`)
      assert.strictEqual((yield* heard(host)).filter((line) => line.startsWith("pre ")).length, 1)
    }).pipe(Effect.scoped)
  )

  it.live("a step that fails stops the rest, is found in log and journal, and is not tried again", () =>
    Effect.gen(function* () {
      const host = yield* one
      const data = rendered({ preStartCommands: ["witness one", "exit 9", "witness never"] })
      assert.notStrictEqual(yield* firstBoot(host, data), 0)
      const failure = "failed: step 2 of 8: pre-start 2, exit code 9"
      assert.strictEqual((yield* readLog(host)).at(-1), failure)
      assert.include(yield* TestHosts.execOk(host, `journalctl -o cat -u ${BOOTSTRAP_UNIT}`), failure)
      assert.isFalse(yield* hasSentinel(host))
      yield* TestHosts.reboot(host)
      yield* TestHosts.execOk(host, `systemctl start ${BOOTSTRAP_UNIT}`)
      assert.isFalse(yield* hasSentinel(host))
      assert.deepStrictEqual(yield* heard(host), ["one"])
    }).pipe(Effect.scoped)
  )
})
