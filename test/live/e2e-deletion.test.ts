/**
 * Holds, with the real command line, a real API server and a real sshd host: when a namespace is deleted, the host is
 * cleaned with a key that the deletion can't take away, though nothing can be created in the namespace any more and
 * everything is deleted at once, in an order that nobody chose; and a pool host that nobody uses is probed.
 *
 * The API server runs no namespace controller: its namespaces are terminating for ever, and what that controller would
 * delete is deleted here.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { Clusters, Machines } from "../../src/api/ClusterApi.ts"
import { Namespaces, Secrets } from "../../src/api/Core.ts"
import type { Kind, KubeObject } from "../../src/api/Kind.ts"
import { SSH_KEY_FINALIZER } from "../../src/api/Names.ts"
import { PooledRemoteMachines } from "../../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import { available } from "./apiserver/ApiServer.ts"
import * as Controller from "./e2e/Controller.ts"
import { addHost, addMachine, disksOf, KEY, Live, makeNamespace, until, untilReady, type View } from "./e2e/World.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

/** As the namespace controller: every object, kind by kind, the keys first of all. */
const emptied: ReadonlyArray<Kind<KubeObject>> = [Secrets, Clusters, Machines, PooledRemoteMachines, RemoteMachines]

const deleteAll = Effect.fnUntraced(function* (view: View) {
  const { kube } = yield* Live
  for (const kind of emptied)
    for (const { metadata } of (yield* kube.list(kind, { namespace: view.namespace })).items)
      yield* Effect.ignore(kube.delete(kind, { namespace: view.namespace, name: metadata.name }))
})

const conditionOf = (view: View, host: string, type: string) =>
  view.hosts.get(host)?.status?.conditions?.find((one) => one.type === type)

describe.skipIf(!available || TestHosts.unavailable !== undefined)("machinist controller, when things go away", () => {
  it.layer(Live.layer, { timeout: "10 minutes", excludeTestServices: true })((it) => {
    it.effect("a namespace is deleted: hosts are cleaned before their key is let go, and nothing of ours is left", () =>
      Effect.gen(function* () {
        const { kube, server } = yield* Live
        const [host] = yield* TestHosts.light(1)
        if (host === undefined) return yield* Effect.die("no host")
        const disks = disksOf([host])
        const view = yield* makeNamespace(host.privateKey)
        const { namespace } = view
        yield* addHost(view, "h0", host)
        yield* addMachine(view, "m0")
        yield* Controller.begin(server.kubeconfigPath, namespace)
        yield* untilReady(view, ["m0"])
        const key = { namespace, name: KEY }
        assert.include((yield* kube.get(Secrets, key)).metadata.finalizers ?? [], SSH_KEY_FINALIZER)

        yield* kube.delete(Namespaces, { name: namespace })
        const refused = yield* Effect.flip(kube.create(Secrets, { metadata: { namespace, name: "late" } }))
        assert.strictEqual(refused.reason, "Forbidden")
        yield* deleteAll(view)
        yield* until(
          "machine and host are gone",
          () => view.machines.size === 0 && view.hosts.size === 0,
          () => [...view.machines.values()].map(({ status }) => JSON.stringify(status?.conditions)).join("\n")
        )
        assert.deepStrictEqual(yield* disks.residue, [])
        yield* Effect.gen(function* () {
          const left = (yield* kube.list(Secrets, { namespace })).items.map(({ metadata }) => metadata.name)
          if (left.length > 0) return yield* Effect.fail(`Secrets are left: ${left.join(", ")}`)
        }).pipe(Effect.retry({ times: 600, schedule: Schedule.spaced("100 millis") }))
      }).pipe(Effect.scoped)
    )

    it.effect("a pool host that nobody uses is probed: usable, then refusing the key, then mended", () =>
      Effect.gen(function* () {
        const { kube, server } = yield* Live
        const [host, other] = yield* TestHosts.light(2)
        if (host === undefined || other === undefined) return yield* Effect.die("no host")
        const view = yield* makeNamespace(host.privateKey)
        const { namespace } = view
        yield* addHost(view, "h0", host)
        yield* Controller.begin(server.kubeconfigPath, namespace, { flags: ["--pool-probe-interval=500ms"] })
        const shows = (reachable: string, clean: string) => () =>
          conditionOf(view, "h0", "Reachable")?.status === reachable &&
          conditionOf(view, "h0", "Clean")?.status === clean
        yield* until("it is found usable", shows("True", "True"))
        yield* kube.patch(
          PooledRemoteMachines,
          { namespace, name: "h0" },
          { spec: { machine: { user: "nobody-here" } } }
        )
        yield* until("it is found unusable", () => conditionOf(view, "h0", "Reachable")?.status === "False")
        assert.strictEqual(conditionOf(view, "h0", "Reachable")?.reason, "AuthenticationFailed")
        assert.strictEqual(view.hosts.get("h0")?.status?.phase, "Suspect")
        yield* kube.patch(PooledRemoteMachines, { namespace, name: "h0" }, { spec: { machine: { user: "root" } } })
        yield* until("it is found mended", shows("True", "True"))
        // Nothing was left on it by looking.
        assert.strictEqual((yield* TestHosts.exec(host, "ls /var/lib/machinist")).stdout, "")
      }).pipe(Effect.scoped)
    )
  })
})
