/**
 * Holds, on real sshd, under SysV scripts, a real OpenRC and a real systemd, with a stand-in k0s: a controller's etcd member leaves
 * before anything is stopped or reset, and while it can't, the host is not clean and says so; a worker's own kubelet root
 * and install directory are followed; what is verified clean is clean.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { namedStep } from "../../src/domain/bootstrap/Payload.ts"
import { type CleaningInput, cleaning, ETCD_NOT_LEFT } from "../../src/domain/Cleaning.ts"
import { HostRuns, type HostRunsShape } from "../../src/hosts/HostRuns.ts"
import * as LiveHostRuns from "../../src/hosts/LiveHostRuns.ts"
import { SENTINEL } from "../../src/hosts/Protocol.ts"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import { assertWell, bytes, cleanOf, outcome, persistently, runOf } from "../conformance/hosts/World.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

/** Milliseconds: a boot and a few runs, on a busy machine. */
const TIMEOUT = 180_000

const runsOverSsh = Effect.map(
  Layer.build(LiveHostRuns.layer.pipe(Layer.provide(LiveSshClient.layer()))),
  (built): HostRunsShape => Context.get(built, HostRuns)
)

const kinds = [
  { name: "SysV", hosts: TestHosts.light, unavailable: TestHosts.unavailable },
  { name: "OpenRC", hosts: TestHosts.openrc, unavailable: TestHosts.openrcUnavailable },
  { name: "systemd", hosts: TestHosts.systemd, unavailable: TestHosts.systemdUnavailable }
]

const success = namedStep("mark success", `mkdir -p /run/cluster-api && touch ${SENTINEL}`)

for (const { name, hosts, unavailable } of kinds)
  describe.skipIf(unavailable !== undefined)(`cleaning under ${name}`, () => {
    const oneHost = Effect.flatMap(hosts(1, { k0s: true }), ([host]) =>
      host === undefined ? Effect.die("no host") : Effect.succeed(host)
    )
    const clean = (runs: HostRunsShape, host: TestHosts.TestHost, input: CleaningInput, attempt: number) =>
      persistently(
        outcome(
          runs.clean(
            { target: host.target("machinist"), useSudo: true },
            cleanOf([], { ...cleaning({ ...input, tries: attempt }), attempt })
          )
        )
      )
    const bootstrap = (runs: HostRunsShape, host: TestHosts.TestHost, install: string) =>
      persistently(
        outcome(
          runs.run(
            { target: host.target(), useSudo: false },
            runOf([namedStep("install k0s", install), namedStep("start k0s", "k0s start"), success], {
              files: [{ path: "/etc/k0s.token", content: bytes(TestHosts.joinToken()), mode: "0600" }]
            })
          )
        )
      )
    const did = (host: TestHosts.TestHost) => Effect.map(TestHosts.witness(host), (all) => all.map((one) => one.what))

    it.live(
      "a controller: not before its etcd member has left",
      () =>
        Effect.gen(function* () {
          const host = yield* oneHost
          const runs = yield* runsOverSsh
          assertWell(yield* bootstrap(runs, host, "k0s install controller"))
          const member = "until [ -e /var/lib/k0s/etcd/member ]; do sleep 0.1; done"
          yield* TestHosts.execOk(host, member)
          yield* TestHosts.fail(host, "etcd", "always")
          const controller: CleaningInput = { bootstrap: "k0s", role: "controller" }
          const held = yield* clean(runs, host, controller, 1)
          assert.strictEqual(held.error?.reason, "NotClean")
          assert.include(held.error?.leftovers ?? [], ETCD_NOT_LEFT)
          for (const what of ["k0s-stop", "k0s-reset", "k0s-controller-end"]) assert.notInclude(yield* did(host), what)
          yield* TestHosts.fail(host, "etcd", 0)
          assertWell(yield* clean(runs, host, controller, 2))
          const order = (yield* did(host)).filter((what) => what === "k0s-etcd-leave" || what === "k0s-reset")
          // The stand-in tells of the call that failed, too.
          assert.deepStrictEqual(order, ["k0s-etcd-leave", "k0s-etcd-leave", "k0s-reset"])
        }).pipe(Effect.scoped),
      TIMEOUT
    )

    it.live(
      "a worker with a kubelet root and an install directory of its own",
      () =>
        Effect.gen(function* () {
          const host = yield* oneHost
          const runs = yield* runsOverSsh
          yield* TestHosts.execOk(host, "mkdir -p /opt/k0s && mv /usr/local/bin/k0s /opt/k0s/k0s")
          const k0s = "PATH=$PATH:/opt/k0s\n"
          assertWell(
            yield* bootstrap(
              runs,
              host,
              `${k0s}k0s install worker --token-file /etc/k0s.token --kubelet-root-dir=/srv/kubelet\nln -s /opt/k0s/k0s /usr/local/bin/k0s`
            )
          )
          yield* TestHosts.execOk(host, "until [ -e /srv/kubelet ]; do sleep 0.1; done; rm -f /usr/local/bin/k0s")
          const worker: CleaningInput = {
            bootstrap: "k0s",
            role: "worker",
            k0sInstallDir: "/opt/k0s",
            kubeletRootDir: "/srv/kubelet"
          }
          assertWell(yield* clean(runs, host, worker, 1))
          const left =
            "ls -d /srv/kubelet /var/lib/k0s /etc/k0s.token /etc/init.d/k0sworker /etc/systemd/system/k0sworker.service"
          assert.strictEqual((yield* TestHosts.exec(host, left)).stdout, "")
          assert.strictEqual((yield* TestHosts.exec(host, "ls /opt/k0s/k0s")).code, 0, "not ours to remove")
        }).pipe(Effect.scoped),
      TIMEOUT
    )
  })
