/**
 * Owns what a stand-in K0sControlPlane does next with its Machines: one at a time, as etcd needs it. Up: when those there
 * are run; down: the last one first; a rollout: a new one first, then the oldest of the outdated goes. Pure. Who creates
 * and removes is K0sControlPlanes.ts.
 */

export interface ControllerView {
  readonly name: string
  /** The number that its name ends with; grows with every Machine that is made. */
  readonly index: number
  /** Its infrastructure is provisioned. */
  readonly running: boolean
  readonly deleting: boolean
  /** As the control plane wants it now. */
  readonly current: boolean
}

export type Move =
  | { readonly do: "create"; readonly index: number }
  | { readonly do: "remove"; readonly names: ReadonlyArray<string> }
  | { readonly do: "wait" }

const WAIT: Move = { do: "wait" }
const remove = (...machines: ReadonlyArray<ControllerView>): Move => ({
  do: "remove",
  names: machines.map(({ name }) => name)
})

export const nextMove = (machines: ReadonlyArray<ControllerView>, wanted: number): Move => {
  const sorted = machines.toSorted((one, other) => one.index - other.index)
  const left = sorted.filter(({ deleting }) => !deleting)
  // A control plane that goes altogether has no member to keep.
  if (wanted === 0) return left.length === 0 ? WAIT : remove(...left)
  if (left.length < sorted.length) return WAIT
  const allRun = sorted.every(({ running }) => running)
  const next = (sorted.at(-1)?.index ?? -1) + 1
  const outdated = sorted.filter(({ current }) => !current)
  const [oldest] = outdated
  const last = sorted.at(-1)
  if (sorted.length > wanted) {
    if (oldest === undefined) return last === undefined ? WAIT : remove(last)
    // The new one first: without it there would be a member less.
    return allRun || sorted.length > wanted + 1 ? remove(oldest) : WAIT
  }
  return allRun && (sorted.length < wanted || oldest !== undefined) ? { do: "create", index: next } : WAIT
}
