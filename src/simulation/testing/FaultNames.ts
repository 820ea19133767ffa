/**
 * Owns the faults of the ports by name, as a test asks for them: one flat list over API server and SSH. What each does is
 * in Faults.ts and hosts/SshFaults.ts; faults of a host itself are its scripts (Scripts.ts).
 */
import { type KubeFaultPlan, noKubeFaults } from "../Faults.ts"
import { noSshFaults, type SshFaultPlan } from "../hosts/SshFaults.ts"

/** Chances from 0 to 1, delays in milliseconds; what is not named does not happen. */
export interface PortFaults extends Partial<KubeFaultPlan>, Partial<SshFaultPlan> {}

export interface FaultSwitch {
  /** Replaces what was set before. */
  readonly set: (faults: PortFaults) => void
  readonly clear: () => void
  readonly kube: () => KubeFaultPlan
  readonly ssh: () => SshFaultPlan
}

const of = <A extends object>(none: A, faults: PortFaults): A => {
  const named = Object.entries(faults).filter(([name, value]) => name in none && value !== undefined)
  return { ...none, ...Object.fromEntries(named) }
}

export const makeFaultSwitch = (): FaultSwitch => {
  let kube = noKubeFaults
  let ssh = noSshFaults
  const set = (faults: PortFaults): void => {
    kube = of(noKubeFaults, faults)
    ssh = of(noSshFaults, faults)
  }
  return { set, clear: () => set({}), kube: () => kube, ssh: () => ssh }
}
