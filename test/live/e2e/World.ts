/**
 * Owns the world of the end-to-end suites: a real API server with our CRDs and CAPI's stand-ins, a namespace with a
 * ready Cluster, a watched copy of its machines and hosts (and how often each was written), and waiting for it to look
 * in some way. Not the hosts (TestHosts), nor what a test does with all this.
 */
import { readdirSync } from "node:fs"
import { join, relative } from "node:path"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Events, type KubeEvent, Namespaces, Secrets, secretData } from "../../../src/api/Core.ts"
import type { Kind, KubeObject } from "../../../src/api/Kind.ts"
import { type PooledRemoteMachine, PooledRemoteMachines } from "../../../src/api/PooledRemoteMachine.ts"
import { type RemoteMachine, RemoteMachines } from "../../../src/api/RemoteMachine.ts"
import { workerBootstrap } from "../../../src/domain/BootstrapScript.ts"
import { renderCloudConfig } from "../../../src/domain/CloudConfig.ts"
import type { JsonObject, KubeClientShape } from "../../../src/kube/KubeClient.ts"
import { makeKubeClient } from "../../../src/kube/LiveKubeClient.ts"
import { type ApiServer, applyCrds, start } from "../apiserver/ApiServer.ts"
import * as TestHosts from "../hosts/TestHosts.ts"
import { createCluster, createMachine, installStandIns } from "./Capi.ts"

export const CLUSTER = "demo"
export const KEY = "key"
/** Between two looks at something that is waited for. */
const LOOK_INTERVAL = "10 millis"

export class Live extends Context.Service<Live, { readonly server: ApiServer; readonly kube: KubeClientShape }>()(
  "test/live/e2e/Live"
) {
  static readonly layer = Layer.effect(
    Live,
    Effect.gen(function* () {
      const server = yield* start
      const kube = yield* makeKubeClient({ _tag: "Files", path: server.kubeconfigPath })
      yield* applyCrds(kube)
      yield* installStandIns(kube)
      return { server, kube }
    })
  )
}

/** Writes of one object: of metadata or spec, which are made before they are acted on; and of status alone. */
export interface Writes {
  readonly durable: number
  readonly status: number
}

const NO_WRITES: Writes = { durable: 0, status: 0 }

/** What a status write leaves as it is. */
const durable = ({ metadata }: KubeObject): string =>
  JSON.stringify([metadata.generation, metadata.annotations, metadata.labels, metadata.finalizers])

/** Every change of a kind's objects in a namespace, from before the first one: objects by name, and writes by uid. */
const follow = Effect.fnUntraced(function* <A extends KubeObject>(
  kube: KubeClientShape,
  kind: Kind<A>,
  namespace: string
) {
  const objects = new Map<string, A>()
  const writes = new Map<string, Writes>()
  const { resourceVersion } = yield* kube.list(kind, { namespace })
  yield* kube.watch(kind, { namespace, resourceVersion }).pipe(
    Stream.runForEach((event) =>
      Effect.sync(() => {
        if (event._tag === "Bookmark") return
        const { name, uid = "" } = event.object.metadata
        const before = objects.get(name)
        if (event._tag === "Deleted") objects.delete(name)
        else objects.set(name, event.object)
        if (event._tag !== "Modified" || before === undefined) return
        const seen = writes.get(uid) ?? NO_WRITES
        const isDurable = durable(before) !== durable(event.object)
        writes.set(uid, isDurable ? { ...seen, durable: seen.durable + 1 } : { ...seen, status: seen.status + 1 })
      })
    ),
    // A test whose eyes are closed must not go on.
    Effect.andThen(Effect.die(new Error(`the watch of ${kind.plural} ended`))),
    Effect.orDie,
    Effect.forkScoped
  )
  return { objects, writes }
})

export interface View {
  readonly namespace: string
  readonly machines: ReadonlyMap<string, RemoteMachine>
  readonly hosts: ReadonlyMap<string, PooledRemoteMachine>
  /** Changes seen since creation, by uid. */
  readonly writes: (object: KubeObject | undefined) => Writes
}

let namespaces = 0

/** A namespace of its own for a test, with a Cluster and the hosts' key in it: deleted ones never go away here. */
export const makeNamespace = Effect.fnUntraced(function* (privateKey: string) {
  const { kube } = yield* Live
  const namespace = `e2e-${namespaces++}`
  yield* kube.create(Namespaces, { metadata: { name: namespace } })
  yield* createCluster(kube, namespace, CLUSTER)
  yield* kube.create(Secrets, { metadata: { namespace, name: KEY }, data: secretData({ value: privateKey }) })
  const machines = yield* follow(kube, RemoteMachines, namespace)
  const hosts = yield* follow(kube, PooledRemoteMachines, namespace)
  const view: View = {
    namespace,
    machines: machines.objects,
    hosts: hosts.objects,
    writes: (object) => {
      const uid = object?.metadata.uid ?? ""
      return machines.writes.get(uid) ?? hosts.writes.get(uid) ?? NO_WRITES
    }
  }
  return view
})

export const addHost = (
  view: View,
  name: string,
  host: TestHosts.TestHost,
  pool = "default",
  machine: JsonObject = {}
) =>
  Effect.flatMap(Live, ({ kube }) =>
    kube.create(PooledRemoteMachines, {
      metadata: { namespace: view.namespace, name },
      spec: { pool, machine: { address: host.address, port: host.port, sshKeyRef: { name: KEY }, ...machine } }
    })
  )

/** A Machine whose bootstrap data is `data`; absent: what our own provider writes for a worker of its name. */
export const addMachine = (view: View, name: string, spec: JsonObject = { pool: "default" }, data?: Uint8Array) =>
  Effect.flatMap(Live, ({ kube }) =>
    createMachine(kube, { namespace: view.namespace, cluster: CLUSTER, name, spec, data: data ?? bootstrapData(name) })
  )

/** Polls: what is waited for is seen in watches and in witnesses' files. A test's own timeout bounds it. */
export const until = (what: string, condition: () => boolean, state: () => string = () => "") =>
  Effect.sync(condition).pipe(
    Effect.repeat({ schedule: Schedule.spaced(LOOK_INTERVAL), until: (holds) => holds }),
    Effect.timeoutOrElse({
      duration: "120 seconds",
      orElse: () => Effect.die(new Error(`waited in vain until ${what} ${state()}`))
    }),
    Effect.asVoid
  )

export const isReady = (machine: RemoteMachine | undefined): boolean =>
  machine?.status?.ready === true && machine.status.initialization?.provisioned === true

export const readyCondition = (view: View, name: string) =>
  view.machines.get(name)?.status?.conditions?.find((one) => one.type === "Ready")

/** For the message of a wait in vain. */
export const summary = (view: View): string =>
  [...view.machines.values()]
    .map((one) => {
      const condition = one.status?.conditions?.find(({ type }) => type === "Ready")
      return `${one.metadata.name}: ${one.status?.phase ?? "?"} ${condition?.reason ?? ""} ${condition?.message ?? ""}`
    })
    .join("\n")

export const untilReady = (view: View, names: ReadonlyArray<string>) =>
  until(
    `${names.length} machines are Ready`,
    () => names.every((name) => isReady(view.machines.get(name))),
    () => summary(view)
  )

export const eventsOf = (view: View, name: string): Effect.Effect<ReadonlyArray<KubeEvent>, never, Live> =>
  Effect.flatMap(Live, ({ kube }) =>
    kube.list(Events, { namespace: view.namespace }).pipe(
      Effect.map(({ items }) => items.filter((event) => event.involvedObject?.name === name)),
      Effect.orDie
    )
  )

/** What our own bootstrap provider writes for a worker, with a witness before and after k0s, and waits that are short. */
export const bootstrapData = (
  machineName: string,
  more: { readonly pre?: ReadonlyArray<string>; readonly post?: ReadonlyArray<string> } = {}
): Uint8Array => {
  const payload = workerBootstrap({
    machineName,
    version: "v1.34.2+k0s.0",
    joinToken: TestHosts.joinToken(),
    files: [{ path: "/etc/demo/app.conf", content: `for ${machineName}\n`, permissions: "0600" }],
    preStartCommands: [`witness pre ${machineName}`, ...(more.pre ?? [])],
    postStartCommands: [...(more.post ?? []), `witness post ${machineName}`],
    waits: { k0sSeconds: 60, nodeReadySeconds: 30 }
  })
  if (Result.isFailure(payload)) throw new Error(payload.failure.message)
  return renderCloudConfig(payload.success)
}

/** Every file that is on the host's disk because it was written there: the upper layer of its overlay, from outside. */
const written = (host: TestHosts.TestHost): ReadonlyArray<string> => {
  const upper = join(host.machine.directory, "upper")
  return readdirSync(upper, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map((entry) => relative(upper, join(entry.parentPath, entry.name)))
    .sort()
}

/** What hosts have on their disks before anyone comes; and what is left of k0s, of the bootstrap and of us later. */
export const disksOf = (hosts: ReadonlyArray<TestHosts.TestHost>) => {
  const before = new Map(hosts.map((host) => [host, new Set(written(host))]))
  const of = (host: TestHosts.TestHost) =>
    Effect.map(residue(host, before.get(host) ?? new Set()), (all) => all.map((left) => ({ host: host.name, left })))
  /** Empty: all are clean. */
  const left = Effect.map(Effect.forEach(hosts, of, { concurrency: LOOKED_AT_ONCE }), (all) => all.flat())
  return { residue: left }
}

/** Hosts that are looked at at one time. */
const LOOKED_AT_ONCE = 4

/** Stays on purpose. */
const TOMBSTONE = "var/lib/machinist/tenancy"
/** Written by what a host does by itself. */
const BY_ITSELF = /^var\/(log|lib\/systemd|lib\/dbus)\//

/** Whatever is left of k0s, of the bootstrap and of us, by the real file system and process table; empty: clean. */
const residue = (host: TestHosts.TestHost, before: ReadonlySet<string>) =>
  Effect.map(
    TestHosts.execOk(
      host,
      [
        "find /tmp /run/cluster-api /run/k0s ! -type d 2>/dev/null",
        "grep -Ls '^state free\\( \\|$\\)' /var/lib/machinist/tenancy",
        "grep -lsE 'MACHINIST_(CLAIM|DRIVER|STEP)=' /proc/[0-9]*/environ",
        "cat /proc/[0-9]*/comm | grep -x k0s",
        "true"
      ].join("\n")
    ),
    (text) => [
      ...text.split("\n").filter((line) => line !== ""),
      ...written(host).filter((path) => !before.has(path) && path !== TOMBSTONE && !BY_ITSELF.test(path))
    ]
  )
