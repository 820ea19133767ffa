/**
 * Owns which Node of a workload cluster is which Machine, and what is to be done about it (CONTRACT section 3, "Nodes"):
 * `spec.providerID` on a Node that has none, and the Nodes of a host's former tenants removed. Pure: Nodes and Machines in,
 * deeds out. Watching and writing are the actor's (NodeWatch.ts, actors/NodeActor.ts).
 *
 * By name, then by label; never by address: behind NAT two hosts have the same one. A Node with a machine's providerID
 * need not be a former tenant's (a cloud's controller may have set it): it is, only when it says itself which Machine it
 * is, and there is none of that name.
 */
import * as Data from "effect/Data"

export interface NodeView {
  readonly name: string
  readonly uid: string
  readonly resourceVersion: string
  readonly providerID: string | undefined
  /** Of which Machine it says it is: label `k0smotron.io/machine-name`, and what Cluster API wrote on it. */
  readonly says: ReadonlyArray<string>
}

/** A Machine whose Node is not known yet. */
export interface Need {
  readonly machine: string
  readonly providerID: string
  /** False: its host is chosen, its bootstrap not over; the former tenant of that host has to go all the same. */
  readonly assign: boolean
}

export type Deed = Data.TaggedEnum<{
  Assign: { readonly node: NodeView; readonly need: Need }
  /** `machines`: of whom it says it is; whoever removes it makes sure that none of them is there. */
  Remove: { readonly node: NodeView; readonly machines: ReadonlyArray<string>; readonly need: Need }
}>
export const Deed = Data.taggedEnum<Deed>()

const grouped = (nodes: ReadonlyArray<NodeView>, keys: (node: NodeView) => ReadonlyArray<string>) => {
  const groups = new Map<string, Array<NodeView>>()
  for (const node of nodes)
    for (const key of keys(node)) {
      const group = groups.get(key)
      if (group === undefined) groups.set(key, [node])
      else group.push(node)
    }
  return (key: string): ReadonlyArray<NodeView> => groups.get(key) ?? []
}

const isFormer = (node: NodeView, living: ReadonlySet<string>): boolean =>
  node.says.length > 0 && !living.has(node.name) && !node.says.some((machine) => living.has(machine))

/** `living`: names of all Machines of the cluster. Removals first: two Nodes of one providerID are none for Cluster API. */
export const deeds = (
  nodes: ReadonlyArray<NodeView>,
  needs: ReadonlyArray<Need>,
  living: ReadonlySet<string>
): ReadonlyArray<Deed> => {
  const named = grouped(nodes, ({ name }) => [name])
  const saying = grouped(nodes, ({ says }) => says)
  const having = grouped(nodes, ({ providerID }) => (providerID === undefined ? [] : [providerID]))
  /** The Node of that name; else the one that says so, when it is the only one. */
  const nodeOf = (machine: string): NodeView | undefined => {
    const [own] = named(machine)
    const [only, ...others] = saying(machine)
    return own ?? (others.length === 0 ? only : undefined)
  }
  return needs.flatMap((need) => {
    const own = nodeOf(need.machine)
    const same = having(need.providerID).filter((node) => node.uid !== own?.uid)
    const removals = same
      .filter((node) => isFormer(node, living))
      .map((node) => Deed.Remove({ node, machines: node.says, need }))
    // Somebody else has it, and has a right to it: two Nodes with one providerID would take it from both.
    const isContested = same.length > removals.length
    const lacks = own !== undefined && own.providerID === undefined && need.assign && !isContested
    return lacks ? [...removals, Deed.Assign({ node: own, need })] : removals
  })
}
