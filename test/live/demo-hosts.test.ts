/**
 * `machinist demo --hosts FILE` on real sshd hosts: every example of the pages, pools and fixed machines, comes true on
 * hosts of one's own, and `--delete` leaves nothing on them but what the examples' own
 * commands wrote.
 */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as CommandLine from "../support/CommandLine.ts"
import { disksOf } from "./e2e/World.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

/** What the examples take: fixed machines, the control plane's pool of two, and the pool of `--machines`. */
const HOSTS = 12

describe.skipIf(TestHosts.unavailable !== undefined)("machinist demo --hosts FILE", () => {
  it.live("every example runs on hosts of one's own, and nothing of k0s or us stays", () =>
    Effect.gen(function* () {
      const directory = yield* CommandLine.directory
      const hosts = yield* TestHosts.light(HOSTS, { join: true, pretend: true })
      const disks = disksOf(hosts)
      const key = hosts[0]?.privateKey ?? ""
      writeFileSync(join(directory, "key"), key, { mode: 0o600 })
      writeFileSync(
        join(directory, "hosts.yaml"),
        hosts.map(({ address, port }) => `- {address: ${address}, port: ${port}, identityFile: key}`).join("\n")
      )
      const list = ["--machines", "1", "--hosts", join(directory, "hosts.yaml")]
      const demo = ["demo", "--once", "--json", "--delete", ...list]
      const { code, errors, lines } = yield* CommandLine.run(demo, { boundToRunner: true })
      assert.strictEqual(code, 0, `${errors}\n${lines.join("\n")}`)
      const report = JSON.parse(lines.at(-1) ?? "{}")
      assert.isAbove(report.machines, 10)
      assert.deepInclude(report, { ready: report.machines, running: report.machines })
      // What the pages' own commands append to, and what cleaning by commands of one's own leaves: the binary.
      const theirs = ["etc/environment", "etc/sysctl.conf", "usr/local/bin/k0s"]
      assert.deepStrictEqual([...new Set((yield* disks.residue).map(({ left }) => left))].sort(), theirs)
    }).pipe(Effect.scoped)
  )
})
