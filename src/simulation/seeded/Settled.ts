/**
 * Owns what has to be true once faults have stopped: every machine Ready that can be, deleted ones gone, every host
 * clean and free, or claimed consistently on both sides. Reads objects and hosts, never the provider.
 */
import * as Effect from "effect/Effect"
import { type Secret, Secrets } from "../../api/Core.ts"
import * as Names from "../../api/Names.ts"
import { type PooledRemoteMachine, PooledRemoteMachines } from "../../api/PooledRemoteMachine.ts"
import { type RemoteMachine, RemoteMachines } from "../../api/RemoteMachine.ts"
import { type Claim, decodeClaim } from "../../domain/Claim.ts"
import type { SimulatedHost } from "../hosts/SimulatedHost.ts"
import { holders } from "../Witness.ts"
import type { World } from "../World.ts"
import { type Forgotten, forgotten, isForgotten } from "./GivenUp.ts"

export interface Unsettled {
  readonly what: string
  /** Whom a person's retry may help. */
  readonly machine?: string
  /** A host object that is held by a claim which no machine has. */
  readonly orphan?: string
}

const claimOf = (object: RemoteMachine | PooledRemoteMachine): Claim | undefined => {
  const text = object.metadata.annotations?.[Names.CLAIM_ANNOTATION]
  return text === undefined ? undefined : decodeClaim(text)
}

const isReady = (machine: RemoteMachine): boolean =>
  machine.status?.ready === true &&
  machine.status.initialization?.provisioned === true &&
  machine.spec.providerID !== undefined &&
  machine.status.conditions?.find((one) => one.type === "Ready")?.status === "True"

const ofMachine = (
  machine: RemoteMachine,
  host: SimulatedHost | undefined,
  hosts: ReadonlyArray<PooledRemoteMachine>,
  machines: ReadonlyArray<RemoteMachine>,
  lost: Forgotten,
  keyIsLeaving: boolean
): ReadonlyArray<Unsettled> => {
  const { name } = machine.metadata
  const phase = machine.status?.phase ?? "no phase"
  const why = machine.status?.conditions?.find((one) => one.type === "Ready")?.message ?? ""
  if (machine.metadata.deletionTimestamp !== undefined)
    return [{ what: `${name} is still being deleted (${phase}: ${why})`, machine: name }]
  if (isReady(machine)) return isHeld(machine, hosts) ? [] : [{ what: `${name} is Ready, and its host does not know` }]
  // Without a host it may wait for ever, as long as there is none for it.
  if (machine.spec.pool === undefined) {
    const others = machines.filter((one) => one !== machine && one.spec.address === machine.spec.address)
    if (others.length > 0 && claimOf(machine) === undefined && phase === "Pending") return []
    const tenancy = host?.tenancy()
    // Claimed while an old list hid the one that has the address: the host itself says whose it is, until that one leaves.
    if (phase === "Claimed" && tenancy !== undefined && others.some((one) => claimOf(one)?.id === tenancy.claim))
      return []
    // Given up on by its last tenant: only a person can say that it may be taken over.
    if (tenancy?.state === "quarantined" && tenancy.claim !== claimOf(machine)?.id) return []
  } else if (phase === "Claimed" && isForgotten(host, claimOf(machine), lost)) {
    return []
  } else if (phase === "Pending" && !isMeant(machine, hosts)) {
    // One that somebody was given up on, and whose object was made anew, is looked at again only after a while.
    const free = hosts.filter(
      (one) => one.spec.pool === machine.spec.pool && claimOf(one) === undefined && one.status?.phase !== "Unclean"
    )
    return free.length === 0 ? [] : [{ what: `${name} waits, though ${free[0]?.metadata.name} is free (${why})` }]
  }
  // A person took the key away while others still need it: whoever comes now has to be given another one.
  if (phase === "Claimed" && keyIsLeaving) return []
  return [{ what: `${name} is not Ready (${phase}: ${why})`, machine: name }]
}

/** Its intent is for a host that nobody else has: it could be completed. A late one may lose to another's claim, and waits. */
const isMeant = (machine: RemoteMachine, hosts: ReadonlyArray<PooledRemoteMachine>): boolean => {
  const claim = claimOf(machine)
  const host = claim === undefined ? undefined : hosts.find(({ metadata }) => metadata.name === claim.host)
  return host !== undefined && (claimOf(host) === undefined || claimOf(host)?.id === claim?.id)
}

/** Both sides name the claim, and the host's status says so. */
const isHeld = (machine: RemoteMachine, hosts: ReadonlyArray<PooledRemoteMachine>): boolean => {
  const claim = claimOf(machine)
  if (claim === undefined) return false
  if (claim.host === "") return true
  const host = hosts.find(({ metadata }) => metadata.name === claim.host)
  return host !== undefined && claimOf(host)?.id === claim.id && host.status?.machineRef?.name === machine.metadata.name
}

const ofHost = (
  object: PooledRemoteMachine,
  host: SimulatedHost | undefined,
  machines: ReadonlyArray<RemoteMachine>,
  lost: Forgotten,
  tenant: string | undefined
): ReadonlyArray<Unsettled> => {
  const { name } = object.metadata
  const claim = claimOf(object)
  const status = object.status
  if (claim === undefined) {
    const givenUp = isForgotten(host, undefined, lost)
    const wrong = [
      ...(status?.reserved === true || status?.machineRef !== undefined ? [`its status says reserved`] : []),
      // Of a tenant that it knows nothing of it hears from a probe.
      ...(status?.phase === "Free" || status?.phase === "Suspect" || (givenUp && status?.phase === "Unclean")
        ? []
        : [`its phase is ${status?.phase}`]),
      ...((object.metadata.finalizers ?? []).length > 0 ? ["it has finalizers"] : []),
      ...(tenant === undefined || givenUp ? [] : [`claim ${tenant} is on it`]),
      ...(givenUp ? [] : (host?.residue() ?? []))
    ]
    return wrong.length === 0 ? [] : [{ what: `${name} is free, but: ${wrong.join(", ")}` }]
  }
  if (claim.quarantined !== undefined)
    return status?.phase === "Quarantined" ? [] : [{ what: `${name} is quarantined, and shows ${status?.phase}` }]
  const machine = machines.find((one) => claimOf(one)?.id === claim.id)
  if (machine === undefined)
    return [{ what: `${name} is held by claim ${claim.id}, which no machine has`, orphan: name }]
  return status?.reserved === true && status.phase === "Reserved" && status.machineRef?.name === machine.metadata.name
    ? []
    : [{ what: `${name} is claimed by ${machine.metadata.name}, and shows ${status?.phase}` }]
}

/** A host outside pools: nobody's means clean, unless its own record says quarantined. */
const ofFixed = (
  host: SimulatedHost,
  machines: ReadonlyArray<RemoteMachine>,
  lost: Forgotten,
  tenant: string | undefined
): ReadonlyArray<Unsettled> => {
  if (host.tenancy()?.state === "quarantined" || isForgotten(host, undefined, lost)) return []
  if (machines.some((one) => one.spec.address === host.address)) return []
  const left = [...(tenant === undefined ? [] : [`claim ${tenant}`]), ...host.residue()]
  return left.length === 0 ? [] : [{ what: `${host.name} is nobody's, and has ${left.join(", ")}` }]
}

/** A key is held exactly as long as a machine has a host that only it opens. */
const ofKey = (secret: Secret, machines: ReadonlyArray<RemoteMachine>): ReadonlyArray<Unsettled> => {
  const { name, namespace } = secret.metadata
  const users = machines.filter(
    (one) => one.spec.sshKeyRef?.name === name && one.metadata.namespace === namespace && claimOf(one) !== undefined
  )
  const held = secret.metadata.finalizers?.includes(Names.SSH_KEY_FINALIZER) ?? false
  if (held && users.length === 0) return [{ what: `Secret ${name} is held, and no machine needs it` }]
  return held || users.every((one) => !isReady(one))
    ? []
    : [{ what: `Secret ${name} is not held, and ${users[0]?.metadata.name} needs it` }]
}

/** `worlds`: the management clusters before this one, too. */
export const unsettled = Effect.fnUntraced(function* (world: World, worlds: ReadonlyArray<World> = [world]) {
  const lost = forgotten(worlds)
  const machines = (yield* world.kube.list(RemoteMachines)).items
  const objects = (yield* world.kube.list(PooledRemoteMachines)).items
  const secrets = (yield* world.kube.list(Secrets)).items
  const tenants = holders(world.witness.entries())
  const found: Array<Unsettled> = machines.flatMap((machine) => {
    const host = world.hosts.hosts().find((one) => one.address === machine.spec.address)
    const key = secrets.find(({ metadata }) => metadata.name === machine.spec.sshKeyRef?.name)
    return ofMachine(machine, host, objects, machines, lost, key?.metadata.deletionTimestamp !== undefined)
  })
  found.push(...secrets.flatMap((secret) => ofKey(secret, machines)))
  for (const host of world.hosts.hosts()) {
    const object = objects.find(({ metadata }) => metadata.name === host.name)
    const tenant = tenants.get(host.name)
    found.push(
      ...(object === undefined ? ofFixed(host, machines, lost, tenant) : ofHost(object, host, machines, lost, tenant))
    )
  }
  return found
})
