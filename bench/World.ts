/**
 * Owns the world that the provisioning scenarios share: the in-memory API server with our CRDs and a ready Cluster, a pool of
 * hosts, and the real provider on top; and one round in it: N RemoteMachines from creation until Ready, then deleted and
 * cleaned. Which hosts, in memory or real, is the scenario's.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Clusters, Machines } from "../src/api/ClusterApi.ts"
import { ConfigMaps, Secrets, secretData } from "../src/api/Core.ts"
import { crdJson, ourCrds } from "../src/api/crd/Render.ts"
import * as Names from "../src/api/Names.ts"
import { PooledRemoteMachines } from "../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import type * as Machine from "../src/domain/Machine.ts"
import * as LiveHostRuns from "../src/hosts/LiveHostRuns.ts"
import { type JsonObject, KubeClient, type KubeClientShape } from "../src/kube/KubeClient.ts"
import * as Provider from "../src/provider/Provider.ts"
import * as SimulatedApiServer from "../src/simulation/SimulatedApiServer.ts"
import { noWorkloadClusters, seededSecureRandom } from "../src/simulation/Surroundings.ts"
import { SshClient, type SshClientShape } from "../src/ssh/SshClient.ts"
import { BenchError, type Sample, timed } from "./Scenario.ts"

export const NAMESPACE = "default"
const CLUSTER = "bench"
const POOL = "bench"
const KEY_SECRET = "bench-key"
const PROVIDER = "provider"
/** A round that takes longer hangs. */
const ROUND_LIMIT = Duration.minutes(5)
/** Objects written at once while a round is set up. */
const WRITES_AT_ONCE = 32

export interface BenchHost {
  readonly address: string
  readonly port: number
}

export interface WorldOptions {
  readonly scenario: string
  readonly hosts: ReadonlyArray<BenchHost>
  /** As it stands in the Secret. */
  readonly privateKey: string
  /** Cloud-config. */
  readonly bootstrapData: string
  /** How the hosts are reached. */
  readonly ssh: SshClientShape
  /** Around what a round measures: adds what it cost to the sample. */
  readonly metered?: (work: Effect.Effect<Sample, BenchError>) => Effect.Effect<Sample, BenchError>
}

/** Machines that were made together. */
export interface Fleet {
  /** Makes the RemoteMachines; their owners are there already. */
  readonly create: Effect.Effect<void, BenchError>
  readonly delete: Effect.Effect<void, BenchError>
  /** Deletes them and waits until their hosts are given back; then their owners. */
  readonly remove: Effect.Effect<void, BenchError>
}

export interface World {
  /** `count` machines to come, with names of their own. */
  readonly fleet: (count: number) => Effect.Effect<Fleet, BenchError>
  /** Counts machines that enter a phase, from now on; what it returns ends when `count` have, or fails after a while. */
  readonly expect: (phase: Machine.Phase["_tag"], count: number) => Effect.Effect<void, BenchError>
  /** The API server, as someone else sees it. */
  readonly user: KubeClientShape
  /** Milliseconds from the first RemoteMachine's creation until the last is Ready; cleaned up before it returns. */
  readonly round: Effect.Effect<Sample, BenchError>
  /** As many ConfigMaps as machines, written `writes` times each, on the same API server. */
  readonly writesOnly: (writes: number) => Effect.Effect<Sample, BenchError>
}

/** Counts machines that enter a phase, and tells when as many as expected have. */
const makeArrivals = () => {
  const phases = new Map<string, string>()
  let expected: { readonly phase: string; readonly count: number; readonly done: Deferred.Deferred<void> } | undefined
  let reached = new Set<string>()
  return {
    entered: (machine: string, state: Machine.State): void => {
      phases.set(machine, state.phase._tag)
      if (expected?.phase !== state.phase._tag) return
      reached.add(machine)
      if (reached.size === expected.count) Deferred.doneUnsafe(expected.done, Effect.void)
    },
    /** Counts from now on; what it returns ends when all have come. */
    expect: (phase: Machine.Phase["_tag"], count: number): Effect.Effect<void> => {
      const done = Deferred.makeUnsafe<void>()
      expected = { phase, count, done }
      reached = new Set()
      return Deferred.await(done)
    },
    summary: (): string => {
      const counts = new Map<string, number>()
      for (const phase of phases.values()) counts.set(phase, (counts.get(phase) ?? 0) + 1)
      return [...counts].map(([phase, count]) => `${count} ${phase}`).join(", ")
    }
  }
}

export const makeWorld = (options: WorldOptions): Effect.Effect<World, BenchError, Scope.Scope> =>
  Effect.gen(function* () {
    const server = yield* SimulatedApiServer.make()
    const user = server.client("user")
    const count = options.hosts.length
    const failed = <E extends { readonly message: string }>(error: E) =>
      new BenchError({ scenario: options.scenario, message: error.message })
    const named = (index: number, round: number) => `m-${round}-${index}`

    for (const crd of ourCrds) {
      const manifest: JsonObject = JSON.parse(crdJson(crd))
      yield* Effect.mapError(server.apply(manifest), failed)
    }
    yield* server.registerKind(Clusters)
    yield* server.registerKind(Machines)
    const secret = (name: string, value: string) =>
      user.create(Secrets, { metadata: { namespace: NAMESPACE, name }, data: secretData({ value }) })
    yield* Effect.gen(function* () {
      yield* secret(KEY_SECRET, options.privateKey)
      yield* secret("data", options.bootstrapData)
      yield* user.create(Clusters, { metadata: { namespace: NAMESPACE, name: CLUSTER }, spec: {} })
      const status = { initialization: { infrastructureProvisioned: true, controlPlaneInitialized: true } }
      yield* user.patch(Clusters, { namespace: NAMESPACE, name: CLUSTER }, { status }, { subresource: "status" })
      yield* Effect.forEach(
        options.hosts,
        ({ address, port }, index) =>
          user.create(PooledRemoteMachines, {
            metadata: { namespace: NAMESPACE, name: `h-${index}` },
            spec: {
              pool: POOL,
              machine: { address, port, sshKeyRef: { name: KEY_SECRET }, customCleanUpCommands: ["true"] }
            }
          }),
        { concurrency: WRITES_AT_ONCE, discard: true }
      )
    }).pipe(Effect.mapError(failed))

    const arrivals = makeArrivals()
    // Built in our scope: connections are kept for as long as the world is.
    const hostRuns = yield* Layer.build(Layer.provide(LiveHostRuns.layer, Layer.succeed(SshClient, options.ssh)))
    const surroundings = yield* Layer.build(Layer.merge(noWorkloadClusters, seededSecureRandom))
    yield* Provider.start({ entered: arrivals.entered }).pipe(
      Effect.provideContext(hostRuns),
      Effect.provideService(KubeClient, server.client(PROVIDER)),
      Effect.provideContext(surroundings),
      Effect.mapError(failed)
    )

    const expect: World["expect"] = (phase, wanted) => {
      const arrived = arrivals.expect(phase, wanted)
      return Effect.timeoutOrElse(arrived, {
        duration: ROUND_LIMIT,
        orElse: () => Effect.fail(failed({ message: `not all machines are ${phase}: ${arrivals.summary()}` }))
      })
    }
    const each = <A>(machines: number, work: (index: number) => Effect.Effect<A, { readonly message: string }>) =>
      Effect.forEach(
        Array.from({ length: machines }, (_, index) => index),
        work,
        { concurrency: WRITES_AT_ONCE }
      ).pipe(Effect.mapError(failed))

    const owner = (index: number, round: number) =>
      user.create(Machines, {
        metadata: {
          namespace: NAMESPACE,
          name: named(index, round),
          labels: { [Names.CLUSTER_NAME_LABEL]: CLUSTER }
        },
        spec: {
          clusterName: CLUSTER,
          bootstrap: {
            dataSecretName: "data",
            configRef: { apiGroup: Names.BOOTSTRAP_GROUP, kind: "K0sWorkerConfig", name: named(index, round) }
          },
          infrastructureRef: {
            apiGroup: Names.INFRASTRUCTURE_GROUP,
            kind: "RemoteMachine",
            name: named(index, round)
          }
        }
      })

    const remoteMachine = (
      index: number,
      round: number,
      uid: string
    ): JsonObject & { readonly metadata: JsonObject } => ({
      metadata: {
        namespace: NAMESPACE,
        name: named(index, round),
        labels: { [Names.CLUSTER_NAME_LABEL]: CLUSTER },
        ownerReferences: [
          {
            apiVersion: `${Names.CLUSTER_GROUP}/v1beta2`,
            kind: "Machine",
            name: named(index, round),
            uid,
            controller: true,
            blockOwnerDeletion: true
          }
        ]
      },
      spec: { pool: POOL }
    })

    const written = () => {
      const records = server.writes().filter(({ client }) => client === PROVIDER)
      const events = records.filter(({ kind }) => kind === "Event").length
      return { writesPerMachine: (records.length - events) / count, eventsPerMachine: events / count }
    }

    let rounds = 0
    const fleet: World["fleet"] = Effect.fnUntraced(function* (machines) {
      const number = rounds++
      const owners = yield* each(machines, (index) => owner(index, number))
      const ref = (index: number) => ({ namespace: NAMESPACE, name: named(index, number) })
      const remove = each(machines, (index) => user.delete(RemoteMachines, ref(index)))
      return {
        create: Effect.asVoid(
          each(machines, (index) =>
            user.create(RemoteMachines, remoteMachine(index, number, owners[index]?.metadata.uid ?? ""))
          )
        ),
        delete: Effect.asVoid(remove),
        remove: Effect.gen(function* () {
          const deleted = expect("Deleted", machines)
          yield* remove
          yield* deleted
          yield* each(machines, (index) => user.delete(Machines, ref(index)))
        })
      }
    })

    const round = Effect.gen(function* () {
      const machines = yield* fleet(count)
      server.store.writeLog.clear()
      const ready = expect("Ready", count)
      const measured = timed(Effect.andThen(machines.create, ready)).pipe(
        Effect.map((sample) => ({ ...sample, also: written() }))
      )
      const sample = yield* (options.metered ?? ((work) => work))(measured)
      yield* machines.remove
      return sample
    })

    const writesOnly = (writes: number) => {
      const number = rounds++
      const one = Effect.fnUntraced(function* (index: number) {
        const ref = { namespace: NAMESPACE, name: named(index, number) }
        yield* user.create(ConfigMaps, { metadata: ref })
        for (let write = 1; write < writes; write++) yield* user.patch(ConfigMaps, ref, { data: { write: `${write}` } })
      })
      return Effect.flatMap(timed(each(count, one)), (sample) =>
        Effect.as(
          each(count, (index) => user.delete(ConfigMaps, { namespace: NAMESPACE, name: named(index, number) })),
          sample
        )
      )
    }

    return { round, writesOnly, fleet, expect, user }
  })
