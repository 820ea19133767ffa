/**
 * Owns what the end-to-end suites on CAPI's own core have besides management clusters: a workload cluster whose API server
 * lets kubelets in by their join token, a namespace with a Cluster, keys and pool hosts, eyes on every change (no two
 * machines with one host, ever), whoever kills the provider at moments drawn from a seed, and what witnesses tell.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { claimOf } from "../../../src/actors/Objects.ts"
import { Namespaces, Nodes, Secrets, secretData } from "../../../src/api/Core.ts"
import type { Kind, KubeObject } from "../../../src/api/Kind.ts"
import * as Names from "../../../src/api/Names.ts"
import { PooledRemoteMachines } from "../../../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../../../src/api/RemoteMachine.ts"
import { KubeClient, type KubeClientShape } from "../../../src/kube/KubeClient.ts"
import { makeKubeClient } from "../../../src/kube/LiveKubeClient.ts"
import * as Reflector from "../../../src/kube/Reflector.ts"
import { HALVES } from "../../../src/provider/Options.ts"
import { rawKind } from "../../../src/simulation/core/Raw.ts"
import * as CoreWorld from "../../conformance/core/World.ts"
import { type ApiServer, startWith } from "../apiserver/ApiServer.ts"
import * as TestHosts from "../hosts/TestHosts.ts"
import type { Lives } from "./Management.ts"

export const KEY = "ssh-key"
export const CONTROL_PLANE_VERSION = "v1.34.2-k0s.0"

const rbac = (kind: string) =>
  rawKind({
    group: "rbac.authorization.k8s.io",
    kind,
    plural: `${kind.toLowerCase()}s`,
    versions: ["v1"],
    namespaced: false
  })

export interface Workload {
  readonly server: ApiServer
  readonly kube: KubeClientShape
}

/** Who shows a bootstrap token may be a kubelet, as k0s lets its workers. */
export const startWorkload = Effect.gen(function* () {
  const server = yield* startWith({ bootstrapTokens: true })
  const kube = yield* makeKubeClient({ _tag: "Files", path: server.kubeconfigPath })
  const metadata = { name: "test-kubelet" }
  yield* kube.create(rbac("ClusterRole"), {
    metadata,
    rules: [
      { apiGroups: [""], resources: ["nodes"], verbs: ["get", "create", "patch"] },
      { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] }
    ]
  })
  yield* kube.create(rbac("ClusterRoleBinding"), {
    metadata,
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: metadata.name },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: "system:bootstrappers" }]
  })
  return { server, kube } satisfies Workload
})

/** The Cluster of this name has the workload cluster's API server for its own. */
const giveKubeconfig = (kube: KubeClientShape, workload: Workload, namespace: string, cluster: string) =>
  kube.create(Secrets, {
    metadata: {
      name: Names.kubeconfigSecretName(cluster),
      namespace,
      labels: { [Names.CLUSTER_NAME_LABEL]: cluster }
    },
    type: Names.CLUSTER_SECRET_TYPE,
    data: secretData({ value: workload.server.kubeconfig })
  })

/** A namespace with the hosts' keys, and the way into the Cluster that there will be; without a workload its stand-in's. */
export const prepareNamespace = Effect.fnUntraced(function* (
  kube: KubeClientShape,
  workload: Workload | undefined,
  namespace: string,
  cluster: string,
  keys: Readonly<Record<string, string>>
) {
  yield* kube.create(Namespaces, { metadata: { name: namespace } })
  if (workload !== undefined) yield* giveKubeconfig(kube, workload, namespace, cluster)
  for (const [name, value] of Object.entries(keys)) {
    yield* kube.create(Secrets, {
      metadata: { name, namespace, labels: { [Names.MOVE_LABEL]: "" } },
      data: secretData({ value })
    })
  }
})

export const addPoolHost = (kube: KubeClientShape, namespace: string, name: string, host: TestHosts.TestHost) =>
  kube.create(PooledRemoteMachines, {
    metadata: { namespace, name },
    spec: { pool: "default", machine: { address: host.address, port: host.port, sshKeyRef: { name: KEY } } }
  })

/** A Cluster with k0smotron's control plane, which leaves its endpoint to that. */
export const createCluster = Effect.fnUntraced(function* (namespace: string, name: string) {
  yield* CoreWorld.create(CoreWorld.RemoteClusters, namespace, name, { spec: {} })
  yield* CoreWorld.create(CoreWorld.ControlPlanes, namespace, name, { spec: { version: CONTROL_PLANE_VERSION } })
  yield* CoreWorld.create(CoreWorld.Clusters, namespace, name, {
    spec: {
      infrastructureRef: { apiGroup: Names.INFRASTRUCTURE_GROUP, kind: "RemoteCluster", name },
      controlPlaneRef: { apiGroup: Names.CONTROL_PLANE_GROUP, kind: "K0smotronControlPlane", name }
    }
  })
})

/** Both templates of a colour; what its machines do is witnessed by the claim they do it for. */
export const createTemplates = Effect.fnUntraced(function* (namespace: string, colour: string) {
  yield* CoreWorld.create(CoreWorld.RemoteMachineTemplates, namespace, colour, {
    spec: { template: { spec: { pool: "default" } } }
  })
  yield* CoreWorld.create(CoreWorld.WorkerConfigTemplates, namespace, colour, {
    spec: {
      template: {
        spec: {
          version: "v1.34.2+k0s.0",
          files: [{ path: "/etc/demo/colour", content: colour, permissions: "0600" }],
          preStartCommands: ['witness pre "$MACHINIST_CLAIM"'],
          postStartCommands: ['witness post "$MACHINIST_CLAIM"']
        }
      }
    }
  })
})

export interface Eyes {
  /** Changes of our objects and of Machines so far. */
  readonly changes: () => number
  /** Two machines that had one host at the same time; must stay empty. */
  readonly doubleClaims: () => ReadonlyArray<string>
}

/** Sees every object of ours in the namespace, or in all of them, for as long as the scope is open. */
export const watch = Effect.fnUntraced(function* (kube: KubeClientShape, namespace?: string) {
  let changes = 0
  const doubles: Array<string> = []
  const reflect = <A extends KubeObject>(kind: Kind<A>) =>
    Reflector.make(kind, namespace === undefined ? {} : { namespace }).pipe(Effect.provideService(KubeClient, kube))
  const machines = yield* reflect(RemoteMachines)
  yield* machines.changes.pipe(
    Stream.runForEach(() =>
      Effect.map(machines.list(), (all) => {
        changes++
        const held = all.filter((one) => claimOf(one) !== undefined && one.spec.address !== undefined)
        for (const one of held) {
          const other = held.find((two) => two !== one && two.spec.address === one.spec.address)
          if (other !== undefined)
            doubles.push(`${one.metadata.name} and ${other.metadata.name} on ${one.spec.address}`)
        }
      })
    ),
    Effect.forkScoped
  )
  const count = <A extends KubeObject>(kind: Kind<A>) =>
    Effect.flatMap(reflect(kind), (reflector) =>
      reflector.changes.pipe(
        Stream.runForEach(() => Effect.sync(() => void changes++)),
        Effect.forkScoped
      )
    )
  yield* count(PooledRemoteMachines)
  yield* count(CoreWorld.WorkerConfigs)
  yield* count(CoreWorld.Machines)
  return { changes: () => changes, doubleClaims: () => doubles } satisfies Eyes
})

/** Changes between two kills, at most. */
const PATIENCE = 5
/** Between two looks at how many changes there were. */
const LOOK = "20 millis"

export interface Killer {
  /** So many more; without leave it waits, so that a slow machine is not busy with nothing but starting processes. */
  readonly allow: (kills: number) => void
  /** Of those that were allowed, how many are still to come. */
  readonly left: () => number
}

/** Kills a half of the provider after so many changes as the seed says, again and again, until the scope closes. */
export const killAtRandom = Effect.fnUntraced(function* (lives: Lives, eyes: Eyes, seed: number) {
  let left = 0
  yield* Effect.gen(function* () {
    for (;;) {
      const half = HALVES[yield* Random.nextIntBetween(0, HALVES.length, { halfOpen: true })] ?? "infrastructure"
      yield* lives.running(half)
      const at = eyes.changes() + (yield* Random.nextIntBetween(1, PATIENCE))
      while (eyes.changes() < at || left === 0) yield* Effect.sleep(LOOK)
      yield* lives.kill(half)
      left--
    }
  }).pipe(Random.withSeed(seed), Effect.forkScoped)
  return {
    allow: (kills) => {
      left += kills
    },
    left: () => left
  } satisfies Killer
})

/** In a tenancy. */
const ONCE = new Set(["pre", "post", "k0s-install-worker", "k0s-install-controller", "k0s-start", "k0s-registered"])

/** What each host's witness says happened, by claim: every step of a tenancy once, one tenancy after the other. */
export const assertWitnesses = Effect.fnUntraced(function* (hosts: ReadonlyArray<TestHosts.TestHost>) {
  const claims = new Map<string, string>()
  let tenancies = 0
  for (const host of hosts) {
    const lines = yield* TestHosts.witness(host)
    const story = `${host.name}: ${lines.map(({ args, what }) => `${what} ${args}`).join("; ")}`
    let current: Array<string> = []
    for (const { args, what } of lines) {
      if (what === "pre") {
        assert.isUndefined(claims.get(args), `a claim began twice: ${args}, on ${claims.get(args)} and ${host.name}`)
        claims.set(args, host.name)
        tenancies++
        current = []
      }
      if (ONCE.has(what)) {
        assert.notInclude(current, what, `a step ran twice. ${story}`)
        current.push(what)
      }
    }
  }
  return tenancies
})

export const nodeNames = (workload: Workload) =>
  Effect.map(workload.kube.list(Nodes), ({ items }) => items.map((node) => node.metadata.name).sort())

/** Join tokens that are still good. */
export const tokens = ({ kube }: Pick<Workload, "kube">) =>
  Effect.map(
    kube.list(Secrets, { namespace: "kube-system", fieldSelector: "type=bootstrap.kubernetes.io/token" }),
    ({ items }) => items.map((secret) => secret.metadata.name)
  )
