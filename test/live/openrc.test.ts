/**
 * Holds, on a host whose PID 1 is a real openrc-init, over real sshd: a worker's whole bootstrap as our bootstrap provider
 * writes it, through a reboot in the middle of a step; k0s is a service of OpenRC, comes back at boot, and after cleaning
 * neither it nor anything else of the bootstrap is left.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { parseBootstrapData } from "../../src/domain/bootstrap/ReadBootstrap.ts"
import { cleaning } from "../../src/domain/Cleaning.ts"
import { HostRuns, type HostRunsShape } from "../../src/hosts/HostRuns.ts"
import * as LiveHostRuns from "../../src/hosts/LiveHostRuns.ts"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import { assertWell, cleanOf, eventually, outcome, persistently, runOf } from "../conformance/hosts/World.ts"
import { bootstrapData, disksOf } from "./e2e/World.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

/** Milliseconds: a boot or two, on a busy machine. */
const TIMEOUT = 180_000

const runsOverSsh = Effect.map(
  Layer.build(LiveHostRuns.layer.pipe(Layer.provide(LiveSshClient.layer()))),
  (built): HostRunsShape => Context.get(built, HostRuns)
)

describe.skipIf(TestHosts.openrcUnavailable !== undefined)("a host with OpenRC", () => {
  it.live(
    "is bootstrapped through a reboot, has k0s as its service, and is cleaned to nothing",
    () =>
      Effect.gen(function* () {
        const [host] = yield* TestHosts.openrc(1)
        assert(host !== undefined)
        const disks = disksOf([host])
        const runs = yield* runsOverSsh
        const access = { target: host.target("machinist"), useSudo: true }
        const data = bootstrapData("node-1", {
          post: ["witness waits; until [ -e /srv/go ]; do sleep 0.1; done"]
        })
        const { files, steps } = Result.getOrThrow(parseBootstrapData(data, undefined))
        const request = runOf(steps, { files })
        assert.strictEqual((yield* runs.inspect(access, request.tenant)).serviceManager, "openrc")
        const told = Effect.map(TestHosts.witness(host), (lines) => lines.map(({ what }) => what))

        const first = yield* Effect.forkChild(outcome(runs.run(access, request)))
        yield* eventually(
          "the last step waits",
          Effect.map(told, (all) => all.includes("waits"))
        )
        assert.match(yield* TestHosts.execOk(host, "rc-service k0sworker status"), /started/)
        assert.match(yield* TestHosts.execOk(host, "rc-update show default"), /k0sworker/)
        yield* TestHosts.reboot(host)
        yield* Fiber.join(first)
        yield* TestHosts.writeFile(host, "/srv/go", "")
        assertWell(yield* persistently(outcome(runs.run(access, request))))
        yield* TestHosts.execOk(host, "rm /srv/go; until rc-service k0sworker status; do sleep 0.1; done")
        assert.deepStrictEqual(
          (yield* told).filter((what) => ["pre", "k0s-install-worker", "k0s-start", "waits", "post"].includes(what)),
          // Only the step that the reboot cut off happened again; k0s came back by itself.
          ["pre", "k0s-install-worker", "waits", "waits", "post"]
        )

        const clean = cleanOf([], { ...cleaning({ bootstrap: "k0s", role: "worker", downloadedK0s: true, files }) })
        assertWell(yield* persistently(outcome(runs.clean(access, clean))))
        assert.deepStrictEqual(yield* disks.residue, [])
        assert.notMatch(yield* TestHosts.execOk(host, "rc-update show; rc-status --all"), /k0s/)
      }).pipe(Effect.scoped),
    TIMEOUT
  )
})
