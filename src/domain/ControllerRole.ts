/**
 * Owns which controller of a cluster brings the certificates and starts it, and through which one the others join.
 * Pure: Machines in, a role out. What each role does on its host is ControllerScript.ts's.
 */
import { isIPv4, isIPv6 } from "node:net"
import type { Machine } from "../api/ClusterApi.ts"
import { isDeleting, machineAddresses, machineInfrastructureReady, machineVersion } from "../api/ClusterApiView.ts"

export type ControllerRole =
  | { readonly as: "first" }
  /** `address`: of a controller that runs. */
  | { readonly as: "joining"; readonly address: string }
  /** `machine`: the controller that has to run first. */
  | { readonly as: "waiting"; readonly machine: string }

const text = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0)

/** A creation timestamp has whole seconds; within one the name decides. */
const byAge = (one: Machine, other: Machine): number =>
  text(one.metadata.creationTimestamp ?? "", other.metadata.creationTimestamp ?? "") ||
  text(one.metadata.name, other.metadata.name)

/** The one that others reach best: as k0smotron chooses, and host names where there is no number. */
export const joinAddress = (machine: Machine): string | undefined => {
  const addresses = machineAddresses(machine)
  const of = (type: string, fits: (address: string) => boolean = () => true) =>
    addresses.find((one) => one.type === type && fits(one.address))?.address
  return (
    of("ExternalIP") ??
    of("InternalIP", isIPv4) ??
    of("InternalIP", isIPv6) ??
    of("ExternalDNS") ??
    of("InternalDNS") ??
    of("Hostname")
  )
}

/**
 * `controllers`: all control-plane Machines of the cluster, this one included. The oldest that is not being deleted
 * starts the cluster, unless another one runs already: a second start would be a second etcd with the same certificates.
 */
export const controllerRole = (own: Machine, controllers: ReadonlyArray<Machine>): ControllerRole => {
  const { name } = own.metadata
  const peers = controllers.filter((one) => one.metadata.name !== name && !isDeleting(one)).toSorted(byAge)
  const running = peers.flatMap((peer) => {
    const address = machineInfrastructureReady(peer) ? joinAddress(peer) : undefined
    return address === undefined ? [] : [{ peer, address }]
  })
  // In a rollout the old ones go next.
  const through = running.find(({ peer }) => machineVersion(peer) === machineVersion(own)) ?? running[0]
  if (through !== undefined) return { as: "joining", address: through.address }
  const oldest = peers[0]
  return oldest === undefined || byAge(own, oldest) < 0
    ? { as: "first" }
    : { as: "waiting", machine: oldest.metadata.name }
}
