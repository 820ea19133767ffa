/**
 * Holds the life of a RemoteCluster (CONTRACT section 1, InfraCluster): both contracts in one patch once a Cluster owns
 * it, nobody else's fields touched, pause and managed-by respected.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as ClusterActor from "../../src/actors/ClusterActor.ts"
import { EventRecorder } from "../../src/actors/EventRecorder.ts"
import { type Cluster, Clusters } from "../../src/api/ClusterApi.ts"
import { Events } from "../../src/api/Core.ts"
import { type RemoteCluster, RemoteClusters } from "../../src/api/RemoteCluster.ts"
import * as Domain from "../../src/domain/RemoteCluster.ts"
import { type JsonObject, KubeClient, type KubeClientShape } from "../../src/kube/KubeClient.ts"
import { KubeError } from "../../src/kube/KubeError.ts"
import * as Registry from "../../src/runtime/Registry.ts"
import { eventually, settle } from "../support/bootstrap.ts"
import { apiServer, CLUSTER, createCluster, ref } from "../support/cluster.ts"

/** As core sets it; a made-up uid would be collected as garbage. */
const ownedBy = (cluster: Cluster) => ({
  ownerReferences: [
    { apiVersion: "cluster.x-k8s.io/v1beta2", kind: "Cluster", name: CLUSTER, uid: cluster.metadata.uid ?? "" }
  ]
})

type LifeServices = Effect.Services<ReturnType<typeof ClusterActor.life>>

/** One process with an actor for every RemoteCluster; answers the states they entered. */
const start = Effect.fnUntraced(function* (kube: KubeClientShape, client: KubeClientShape) {
  const states: Array<Domain.State> = []
  const services = yield* Layer.build(EventRecorder.layer.pipe(Layer.provideMerge(Layer.succeed(KubeClient, client))))
  const around = () =>
    kube.list(Clusters).pipe(
      Effect.map(({ items }) => ({ cluster: items.find((one) => one.metadata.name === CLUSTER) })),
      Effect.orDie
    )
  const registry = yield* Registry.make<string, ClusterActor.Sighting, LifeServices>((uid, mailbox) =>
    ClusterActor.life({ ...ref(CLUSTER), uid, around, entered: (state) => states.push(state) }, mailbox)
  ).pipe(Effect.provideContext(services))
  const sightAll = Effect.gen(function* () {
    for (const remoteCluster of (yield* kube.list(RemoteClusters)).items)
      yield* registry.observe(remoteCluster.metadata.uid ?? "", { remoteCluster })
  }).pipe(Effect.orDie)
  const { resourceVersion } = yield* kube.list(Clusters)
  yield* kube.watch(RemoteClusters, { resourceVersion }).pipe(
    Stream.runForEach((event) =>
      event._tag === "Deleted" ? registry.tell(event.object.metadata.uid ?? "", { remoteCluster: undefined }) : sightAll
    ),
    Effect.forkScoped
  )
  yield* kube.watch(Clusters, { resourceVersion }).pipe(
    Stream.runForEach(() => sightAll),
    Effect.forkScoped
  )
  yield* sightAll
  return { states, living: registry.keys }
})

interface SetUp {
  readonly owned?: boolean
  readonly annotations?: JsonObject
  readonly wrap?: (kube: KubeClientShape) => KubeClientShape
}

const setUp = Effect.fnUntraced(function* ({ owned = true, annotations = {}, wrap = (kube) => kube }: SetUp) {
  const server = yield* apiServer()
  const kube = server.kubeClient
  const cluster = yield* createCluster(kube)
  yield* kube.create(RemoteClusters, {
    metadata: { ...ref(CLUSTER), annotations, ...(owned ? ownedBy(cluster) : {}) }
  })
  const { states, living } = yield* start(kube, wrap(server.client("provider")))
  const now = kube.get(RemoteClusters, ref(CLUSTER))
  const writes = () =>
    server
      .writes()
      .filter((one) => one.client === "provider" && one.kind === "RemoteCluster" && one.outcome !== "refused")
  return { kube, cluster, now, writes, states, living }
})

const reason = (object: RemoteCluster, type: string) =>
  object.status?.conditions?.find((one) => one.type === type)?.reason

describe("a RemoteCluster's life", () => {
  it.effect("is provisioned once a Cluster owns it, in one status patch of both contracts", () =>
    Effect.gen(function* () {
      const { kube, cluster, now, writes, living } = yield* setUp({ owned: false })
      yield* eventually(
        "waits",
        Effect.map(now, (one) => reason(one, "Ready") === "WaitingForCluster")
      )
      assert.isUndefined((yield* now).status?.initialization)
      assert.notStrictEqual((yield* now).status?.ready, true)
      const before = writes().length
      yield* kube.patch(RemoteClusters, ref(CLUSTER), { metadata: ownedBy(cluster) })
      yield* eventually(
        "ready",
        Effect.map(now, (one) => one.status?.ready === true)
      )
      const ready = yield* now
      assert.strictEqual(ready.status?.initialization?.provisioned, true)
      assert.strictEqual(reason(ready, "Ready"), "Provisioned")
      assert.strictEqual(reason(ready, "Paused"), "NotPaused")
      assert.isUndefined(ready.metadata.finalizers)
      assert.strictEqual(writes().length, before + 1)
      assert.isTrue(writes().every((one) => one.subresource === "status"))
      yield* settle(1_000)
      const said = (yield* kube.list(Events)).items.map((one) => one.reason)
      assert.deepStrictEqual(said, ["Provisioned"])

      yield* kube.delete(RemoteClusters, ref(CLUSTER))
      yield* eventually(
        "no actor",
        Effect.map(living, (keys) => keys.length === 0)
      )
    }).pipe(Effect.scoped)
  )

  it.effect("does not wait for an endpoint, and never touches the one that the control plane provider writes", () =>
    Effect.gen(function* () {
      const { kube, now } = yield* setUp({})
      yield* eventually(
        "ready",
        Effect.map(now, (one) => one.status?.ready === true)
      )
      assert.isUndefined((yield* now).spec?.controlPlaneEndpoint)
      yield* kube.patch(RemoteClusters, ref(CLUSTER), {
        spec: { controlPlaneEndpoint: { host: "10.0.0.9", port: 6443 } }
      })
      yield* kube.patch(
        RemoteClusters,
        ref(CLUSTER),
        {
          status: {
            conditions: [
              { type: "Foreign", status: "True", reason: "R", message: "", lastTransitionTime: "2026-01-01T00:00:00Z" }
            ]
          }
        },
        { subresource: "status" }
      )
      yield* eventually(
        "ours are back",
        Effect.map(now, (one) => reason(one, "Ready") === "Provisioned")
      )
      const after = yield* now
      assert.deepStrictEqual(after.spec?.controlPlaneEndpoint, { host: "10.0.0.9", port: 6443 })
      assert.strictEqual(reason(after, "Foreign"), "R")
    }).pipe(Effect.scoped)
  )

  it.effect("paused: the condition alone; then it goes on", () =>
    Effect.gen(function* () {
      const { kube, now, writes } = yield* setUp({ annotations: { "cluster.x-k8s.io/paused": "" } })
      yield* eventually(
        "paused",
        Effect.map(now, (one) => reason(one, "Paused") === "Paused")
      )
      yield* settle(60_000)
      assert.notStrictEqual((yield* now).status?.ready, true)
      assert.isUndefined(reason(yield* now, "Ready"))
      assert.strictEqual(writes().length, 1)
      yield* kube.patch(Clusters, ref(CLUSTER), { spec: { paused: true } })
      yield* kube.patch(RemoteClusters, ref(CLUSTER), {
        metadata: { annotations: { "cluster.x-k8s.io/paused": null } }
      })
      yield* settle(60_000)
      assert.notStrictEqual((yield* now).status?.ready, true)
      yield* kube.patch(Clusters, ref(CLUSTER), { spec: { paused: false } })
      yield* eventually(
        "ready",
        Effect.map(now, (one) => one.status?.ready === true)
      )
    }).pipe(Effect.scoped)
  )

  for (const annotation of ["cluster.x-k8s.io/managed-by", "clusterctl.cluster.x-k8s.io/delete-for-move"]) {
    it.effect(`${annotation}: left alone altogether`, () =>
      Effect.gen(function* () {
        const { writes, states } = yield* setUp({ annotations: { [annotation]: "x" } })
        yield* settle(60_000)
        assert.isAbove(states.length, 0)
        assert.deepStrictEqual(writes(), [])
      }).pipe(Effect.scoped)
    )
  }

  it.effect("conflicts and lost answers only delay it", () =>
    Effect.gen(function* () {
      let failures = 6
      const { now } = yield* setUp({
        wrap: (kube) => ({
          ...kube,
          patch: (kind, at, patch, options) => {
            failures -= 1
            if (failures < 0) return kube.patch(kind, at, patch, options)
            const lost = new KubeError({ reason: "Unavailable", verb: "patch", kind: kind.kind, message: "reset" })
            return failures % 2 === 0 ? Effect.fail(lost) : Effect.andThen(kube.patch(kind, at, patch, options), lost)
          }
        })
      })
      yield* eventually(
        "ready",
        Effect.map(now, (one) => reason(one, "Ready") === "Provisioned")
      )
    }).pipe(Effect.scoped)
  )
})

describe("RemoteCluster decisions", () => {
  const seen: Domain.Observed = { exists: true, deleting: false, owned: true, provisioned: true, halted: undefined }
  const next = (state: Domain.State, observed: Partial<Domain.Observed>) =>
    Domain.transition(state, { _tag: "Observed", observed: { ...seen, ...observed } })[0]

  it("provisioned never goes back", () => {
    const ready = Domain.recover(seen)
    assert.strictEqual(next(ready, { owned: false, provisioned: false }).phase, "Ready")
    assert.strictEqual(Domain.recover({ ...seen, owned: false }).phase, "Ready")
    assert.strictEqual(Domain.recover({ ...seen, owned: false, provisioned: false }).phase, "Pending")
  })
  it("nothing new is the same state", () => {
    const ready = Domain.recover(seen)
    assert.strictEqual(next(ready, {}), ready)
  })
  it("ends with deletion, halted or not", () => {
    assert.isTrue(Domain.isFinal(next(Domain.recover(seen), { deleting: true })))
    assert.isTrue(Domain.isFinal(next(Domain.recover({ ...seen, halted: "paused" }), { exists: false })))
  })
})
