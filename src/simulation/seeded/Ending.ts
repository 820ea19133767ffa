/**
 * Owns the end of a seeded run: everything is taken away, as one should or all at once in any order, and afterwards
 * nothing may be left: no machine, no claim, no token in a workload cluster, nothing on a host that nobody gave up on.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { Clusters, MachineDeployments, Machines } from "../../api/ClusterApi.ts"
import { type Secret, Secrets, secretText } from "../../api/Core.ts"
import { K0sControllerConfigs, K0sWorkerConfigs } from "../../api/K0sConfigs.ts"
import type { Kind, KubeObject } from "../../api/Kind.ts"
import { CLAIM_ANNOTATION, CONFIG_UID_LABEL } from "../../api/Names.ts"
import { PooledRemoteMachines } from "../../api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../../api/RemoteMachine.ts"
import { decodeClaim } from "../../domain/Claim.ts"
import { TOKEN_NAMESPACE } from "../../domain/JoinToken.ts"
import { stringAt } from "../apiserver/Json.ts"
import { CLUSTER, NAMESPACE, ref } from "../ClusterObjects.ts"
import { K0sControlPlanes } from "../core/standins/K0sControlPlanes.ts"
import { holders } from "../Witness.ts"
import type { World } from "../World.ts"
import { OWN_CLUSTER } from "./ControlPlane.ts"
import { forgotten, isForgotten } from "./GivenUp.ts"
import type { Running } from "./Running.ts"
import type { Unsettled } from "./Settled.ts"

const KINDS: ReadonlyArray<Kind<KubeObject>> = [
  MachineDeployments,
  Machines,
  RemoteMachines,
  K0sWorkerConfigs,
  PooledRemoteMachines,
  Secrets,
  Clusters
]

const all = Effect.fnUntraced(function* (world: World, kinds: ReadonlyArray<Kind<KubeObject>>) {
  const found: Array<{ readonly kind: Kind<KubeObject>; readonly name: string }> = []
  for (const kind of kinds)
    for (const { metadata } of (yield* world.kube.list(kind, { namespace: NAMESPACE })).items)
      found.push({ kind, name: metadata.name })
  return found
})

/** What a person asks for; whatever is gone already is. */
export const takeAway = Effect.fnUntraced(function* ({ plan, world }: Running) {
  // Core's own order: its finalizers hold what must wait. What no core looks after goes by itself.
  const orderly = plan.deployments.length > 0 ? [MachineDeployments] : [RemoteMachines]
  const kinds: ReadonlyArray<Kind<KubeObject>> = [
    ...(plan.ending === "everything" ? KINDS : orderly),
    ...(plan.controlPlane === undefined ? [] : [K0sControlPlanes]),
    ...(plan.controlPlane === undefined || plan.ending !== "everything" ? [] : [K0sControllerConfigs])
  ]
  const objects = yield* all(world, kinds)
  const inOrder = plan.ending === "everything" ? yield* Random.shuffle(objects) : objects
  for (const { kind, name } of inOrder) yield* Effect.ignore(world.kube.delete(kind, ref(name)))
})

/** Configs (by uid) whose token was left to expire by itself, bounded tries having failed, and that say so. */
const saidToExpire = (worlds: ReadonlyArray<World>): ReadonlySet<string> =>
  new Set(
    worlds.flatMap(({ history }) =>
      history
        .versions()
        .flatMap(({ kind, object }) =>
          kind === "Event" && stringAt(object, "reason") === "TokenNotRevoked"
            ? [stringAt(object, "involvedObject", "uid") ?? ""]
            : []
        )
    )
  )

const tokensIn = Effect.fnUntraced(function* ({ workloads }: World, givenUp: ReadonlySet<string>) {
  const items: Array<Secret> = []
  for (const name of [CLUSTER, OWN_CLUSTER]) {
    const server = workloads?.server({ namespace: NAMESPACE, name })
    if (server !== undefined)
      items.push(...(yield* server.kubeClient.list(Secrets, { namespace: TOKEN_NAMESPACE })).items)
  }
  const now = yield* Clock.currentTimeMillis
  // A leader that was held may write one when everything is over: it opens nothing for longer than it lives, and then
  // kube-controller-manager's token cleaner, which there is none of here, takes it away.
  return items.flatMap((secret) =>
    secret.metadata.name.startsWith("bootstrap-token-") &&
    !givenUp.has(secret.metadata.labels?.[CONFIG_UID_LABEL] ?? "") &&
    Date.parse(secretText(secret, "expiration") ?? "") > now
      ? [secret.metadata.name]
      : []
  )
})

/** Claims that were given up on, and said so on their host's object, which may be gone by now. */
const quarantinedIn = ({ history }: World): ReadonlySet<string> => {
  const found = new Set<string>()
  for (const { kind, object } of history.versions()) {
    const text = kind === "PooledRemoteMachine" ? object.metadata.annotations?.[CLAIM_ANNOTATION] : undefined
    const claim = text === undefined ? undefined : decodeClaim(text)
    if (claim?.quarantined !== undefined) found.add(claim.id)
  }
  return found
}

/** What is left that should not be. */
export const leftOver = Effect.fnUntraced(function* ({ world, worlds }: Running) {
  const lost = forgotten(worlds)
  const machines = (yield* world.kube.list(RemoteMachines)).items
  const found: Array<Unsettled> = machines.map(({ metadata, status }) => ({
    what: `${metadata.name} is still there (${status?.phase})`,
    machine: metadata.name
  }))
  const tenants = holders(world.witness.entries())
  const quarantined = quarantinedIn(world)
  const objects = (yield* world.kube.list(PooledRemoteMachines)).items
  for (const host of world.hosts.hosts()) {
    const text = objects.find(({ metadata }) => metadata.name === host.name)?.metadata.annotations?.[CLAIM_ANNOTATION]
    const claim = text === undefined ? undefined : decodeClaim(text)
    const tenant = tenants.get(host.name)
    const givenUp =
      claim?.quarantined !== undefined || host.tenancy()?.state === "quarantined" || isForgotten(host, claim, lost)
    // A host that was given up on is tried again in the background, until its object is taken away, too.
    if (givenUp || (tenant !== undefined && quarantined.has(tenant))) continue
    if (claim !== undefined) found.push({ what: `${host.name} is still claimed by ${claim.machine}` })
    const left = [...(tenant === undefined ? [] : [`claim ${tenant}`]), ...host.residue()]
    if (left.length > 0) found.push({ what: `${host.name} has ${left.join(", ")}` })
  }
  for (const token of yield* tokensIn(world, saidToExpire(worlds)))
    found.push({ what: `${token} is left in the workload cluster` })
  return found
})
