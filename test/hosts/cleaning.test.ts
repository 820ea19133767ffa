/**
 * Holds what a cleaning spares, what it ends, and that nothing of a tenant or of us stays but the tombstone; and who is
 * refused before anything is done.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { SENTINEL } from "../../src/hosts/Protocol.ts"
import { cleanOf, DRIVERS, eventually, HELD, letGo, runOf, STATE, setUp, tenant } from "./DriverWorld.ts"
import { unavailable } from "./LocalShell.ts"

describe.skipIf(unavailable !== undefined)(
  `cleaning on a host${unavailable === undefined ? "" : `: skipped, ${unavailable}`}`,
  () => {
    it.live("a session that inherited a step's tag from a restarted sshd is spared by the cleaning it asks for", () =>
      Effect.gen(function* () {
        const { clean, run } = yield* setUp({ env: { MACHINIST_CLAIM: "c1", MACHINIST_STEP: "c1.run.0" } })
        assert.isUndefined((yield* run(runOf("true"))).error)
        const { error } = yield* clean(cleanOf())
        assert.isUndefined(error, error?.message)
      })
    )

    it.live("without root nothing is done, and useSudo is named", () =>
      Effect.gen(function* () {
        const { access, out, run, runs } = yield* setUp({ uid: 65534 })
        const { error } = yield* run(runOf("touch /tmp/ran"))
        assert.strictEqual(error?.reason, "Unsupported")
        assert.include(error?.message, "useSudo: true")
        const inspected = yield* Effect.flip(runs.inspect(access, tenant))
        assert.strictEqual(inspected.reason, "Unsupported")
        assert.strictEqual(yield* out(`ls ${STATE} /tmp/ran 2>/dev/null`), "")
      })
    )

    it.live("a damaged tenancy record is nobody's: refused until a person has looked", () =>
      Effect.gen(function* () {
        const { access, clean, host, out, run, runs } = yield* setUp()
        yield* host.sh(`mkdir -p ${STATE}; printf 'claim c1\\nfence' >${STATE}/tenancy`)
        assert.strictEqual((yield* run(runOf("touch /tmp/ran"))).error?.reason, "DriverFailed")
        assert.strictEqual((yield* clean(cleanOf())).error?.reason, "DriverFailed")
        assert.include((yield* Effect.flip(runs.inspect(access, tenant))).message, "damaged")
        assert.strictEqual(yield* out("ls /tmp/ran 2>/dev/null"), "")
      })
    )

    it.live("a driver that was launched before a cleaning, and is late, begins nothing in it", () =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        // Nobody can tell what it is yet: neither its environment nor a file says so.
        const wait = `[ "$Q_verb" = clean ] || ${HELD}`
        host.rewrite = (text) => text.replace("\n  MACHINIST_DRIVER=$5\n", (line) => `\n  ${wait}${line}`)
        const first = yield* Effect.forkChild(run(runOf("echo x >>/tmp/ran")))
        yield* eventually(Effect.map(out("ls /tmp/at 2>/dev/null"), (text) => text !== ""))
        const step = { name: "only", script: ": >/tmp/cleaning; until [ -e /tmp/end ]; do sleep 0.1; done" }
        const second = yield* Effect.forkChild(clean(cleanOf({ tenant: { ...tenant, fence: 2 }, steps: [step] })))
        yield* eventually(Effect.map(out("ls /tmp/cleaning 2>/dev/null"), (text) => text !== ""))
        yield* host.sh(`${letGo(1)}; touch /tmp/end`)
        const { error } = yield* Fiber.join(second)
        assert.isUndefined(error, error?.message)
        assert.strictEqual((yield* Fiber.join(first)).error?.reason, "StaleFence")
        yield* eventually(Effect.map(out(DRIVERS), (count) => count === "0"))
        assert.strictEqual(yield* out(`ls /tmp/ran 2>/dev/null; find ${STATE} -type f`), `${STATE}/tenancy`)
      })
    )

    it.live("a step that had not become itself when a cleaning killed its driver never does", () =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        const wait = `{ mkdir /tmp/first && ${HELD}; } 2>/dev/null`
        const between = /kill_tagged '.*of the run.*\n/
        host.rewrite = (text) =>
          text
            .replace("\n  bs_session=", (line) => `\n  ${wait}${line}`)
            // Between one look for what is to be killed and the next.
            .replace(between, (line) => `${line}  ${letGo(1)}\n`)
        const first = yield* Effect.forkChild(Effect.exit(run(runOf("echo x >>/tmp/ran; sleep 2000"))))
        yield* eventually(Effect.map(out("ls /tmp/at 2>/dev/null"), (text) => text !== ""))
        const { error } = yield* clean(cleanOf({ tenant: { ...tenant, fence: 2 } }))
        assert.isUndefined(error, error?.message)
        yield* Fiber.interrupt(first)
        assert.strictEqual(yield* out("ls /tmp/go /tmp/ran 2>/dev/null"), "/tmp/go")
      })
    )

    it.live("a cleaning that is slow at its end takes nothing of the next tenant's with it", () =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        const wait = "{ echo $$ >/tmp/at; until [ -e /tmp/go ]; do sleep 0.1; done; }"
        host.rewrite = (text) =>
          text.replace("\nfailpoint() { :; }\n", () => `\nfailpoint() { [ "$1" != bury ] || ${wait}; }\n`)
        const first = yield* Effect.forkChild(clean(cleanOf()))
        yield* eventually(Effect.map(out("cat /tmp/at 2>/dev/null"), (text) => text !== ""))
        const next = runOf(": >/tmp/begun; until [ -e /tmp/end ]; do sleep 0.1; done", {
          tenant: { ...tenant, claim: "c2", fence: 2 }
        })
        const second = yield* Effect.forkChild(run(next))
        // Longer than a follower waits for the rest to go.
        yield* host.sh("sleep 3; touch /tmp/go; while [ -e /proc/$(cat /tmp/at) ]; do sleep 0.1; done")
        yield* eventually(Effect.map(out("ls /tmp/begun 2>/dev/null"), (text) => text !== ""))
        assert.strictEqual(yield* out(`ls ${STATE}/runs`), "c2")
        yield* host.sh("touch /tmp/end")
        for (const { error } of yield* Effect.forEach([first, second], Fiber.join))
          assert.isUndefined(error, error?.message)
      })
    )

    it.live("an sshd that a step restarted carries its tag, and is neither killed nor a leftover", () =>
      Effect.gen(function* () {
        const { clean, out, run } = yield* setUp()
        const start = ["sshd", "agent"].map(
          (name) => `cp "$(command -v sleep)" /tmp/${name}; setsid /tmp/${name} 1000 >/dev/null 2>&1 &`
        )
        assert.isUndefined((yield* run(runOf(start.join("\n")))).error)
        const comms = "cat /proc/[0-9]*/comm | grep -x -e sshd -e agent | sort"
        yield* eventually(Effect.map(out(comms), (text) => text === "agent\nsshd"))
        assert.isUndefined((yield* clean(cleanOf())).error)
        assert.strictEqual(yield* out(comms), "sshd")
      })
    )

    it.live("nothing but the tombstone is left of us: no file, no process", () =>
      Effect.gen(function* () {
        const { clean, out, run } = yield* setUp()
        const step = `mkdir -p ${SENTINEL.slice(0, SENTINEL.lastIndexOf("/"))}; touch ${SENTINEL}; (trap '' TERM HUP; while :; do sleep 1; done) &`
        assert.isUndefined((yield* run(runOf(step, { sentinel: true }))).error)
        assert.isUndefined((yield* clean(cleanOf())).error)
        assert.strictEqual(yield* out(`find ${STATE} -type f; ls -d /run/cluster-api 2>/dev/null`), `${STATE}/tenancy`)
        yield* eventually(Effect.map(out(DRIVERS), (count) => count === "0"))
        assert.include(yield* out(`cat ${STATE}/tenancy`), "state free")
      })
    )

    it.live("nor the locks of drivers and followers that were killed", () =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        assert.isUndefined((yield* run(runOf("true"))).error)
        // As one leaves them that is killed between leaving the lock and its end; no such process lives.
        yield* host.sh(`for kind in choosing ticket-3; do : >${STATE}/lock/dead-boot.4242.17.1.$kind; done`)
        assert.isUndefined((yield* clean(cleanOf())).error)
        assert.strictEqual(yield* out(`find ${STATE} -type f`), `${STATE}/tenancy`)
      })
    )

    it.live("whoever is told that the host is clean leaves nothing, though the driver died before it could", () =>
      Effect.gen(function* () {
        const { clean, host, out, run } = yield* setUp()
        assert.isUndefined((yield* run(runOf("true"))).error)
        host.rewrite = (text) =>
          text.replace("\nfailpoint() { :; }\n", () => '\nfailpoint() { [ "$1" != bury ] || kill -9 $$; }\n')
        assert.isUndefined((yield* clean(cleanOf())).error)
        yield* eventually(Effect.map(out(DRIVERS), (count) => count === "0"))
        assert.strictEqual(yield* out(`find ${STATE} -type f`), `${STATE}/tenancy`)
      })
    )

    it.live("a directory at the top is never removed, whatever the list says", () =>
      Effect.gen(function* () {
        const { clean, out, run } = yield* setUp()
        assert.isUndefined((yield* run(runOf("mkdir -p /precious; touch /precious/x /gone"))).error)
        const { error } = yield* clean(cleanOf({ remove: ["/precious", "/gone"] }))
        assert.deepStrictEqual(error?.leftovers, ["/precious"])
        assert.strictEqual(yield* out("ls /precious; ls /gone 2>/dev/null"), "x")
      })
    )

    it.live("quarantine marks the host, whoever asks next; only its own claim may", () =>
      Effect.gen(function* () {
        const { access, clean, run, runs } = yield* setUp()
        yield* runs.quarantine(access, tenant)
        yield* runs.quarantine(access, tenant)
        assert.strictEqual((yield* runs.inspect(access, tenant)).tenancy?.state, "quarantined")
        assert.strictEqual((yield* run(runOf("true"))).error?.reason, "Quarantined")
        const other = { ...tenant, claim: "c2", fence: 9 }
        assert.strictEqual((yield* run(runOf("true", { tenant: other }))).error?.reason, "Quarantined")
        assert.strictEqual((yield* Effect.flip(runs.quarantine(access, other))).reason, "Quarantined")
        assert.isUndefined((yield* clean(cleanOf({ tenant: { ...tenant, fence: 2 } }))).error)
        assert.strictEqual((yield* Effect.flip(runs.quarantine(access, { ...tenant, fence: 2 }))).reason, "Released")
      })
    )
  }
)
