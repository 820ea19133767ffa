/**
 * `machinist demo --hosts FILE` on real sshd hosts: every example of the pages, pools and fixed machines, comes true on
 * hosts of one's own, and `--delete` leaves nothing on them but what the examples' own
 * commands wrote.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { pristine, residue } from "./e2e/World.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url))
/** What the examples take: fixed machines, the control plane's pool of two, and the pool of `--machines`. */
const HOSTS = 12

describe.skipIf(TestHosts.unavailable !== undefined)("machinist demo --hosts FILE", () => {
  it.live("every example runs on hosts of one's own, and nothing of k0s or us stays", () =>
    Effect.gen(function* () {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "machinist-demo-"))),
        (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
      )
      const hosts = yield* TestHosts.light(HOSTS, { join: true, pretend: true })
      const fresh = new Map(hosts.map((host) => [host.name, pristine(host)]))
      const key = hosts[0]?.privateKey ?? ""
      writeFileSync(join(directory, "key"), key, { mode: 0o600 })
      writeFileSync(
        join(directory, "hosts.yaml"),
        hosts.map(({ address, port }) => `- {address: ${address}, port: ${port}, identityFile: key}`).join("\n")
      )
      const child = spawn(
        "setpriv",
        [
          ...["--pdeathsig", "KILL", process.execPath, MAIN, "demo", "--once", "--json", "--delete"],
          ...["--machines", "1", "--hosts", join(directory, "hosts.yaml")]
        ],
        { stdio: ["ignore", "pipe", "pipe"] }
      )
      let output = ""
      let errors = ""
      child.stdout.on("data", (data: Buffer) => {
        output += data.toString()
      })
      child.stderr.on("data", (data: Buffer) => {
        errors += data.toString()
      })
      const [code] = yield* Effect.promise(() => once(child, "close"))
      assert.strictEqual(code, 0, `${errors}\n${output}`)
      const report = JSON.parse(output.trimEnd().split("\n").at(-1) ?? "{}")
      assert.isAbove(report.machines, 10)
      assert.deepInclude(report, { ready: report.machines, running: report.machines })
      const left = yield* Effect.forEach(hosts, (host) => residue(host, fresh.get(host.name) ?? new Set()))
      // What the pages' own commands append to, and what cleaning by commands of one's own leaves: the binary.
      const theirs = ["etc/environment", "etc/sysctl.conf", "usr/local/bin/k0s"]
      assert.deepStrictEqual([...new Set(left.flat())].sort(), theirs)
    }).pipe(Effect.scoped)
  )
})
