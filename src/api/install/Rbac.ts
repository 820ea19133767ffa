/**
 * Owns which requests the provider may make of the management cluster: the rules of its ClusterRoles, for each of its two
 * halves, and no more than each makes. A test holds what the provider asks in simulations against them. Does not own the
 * rights on workload clusters, which are those of the kubeconfig Secrets.
 */
import * as Names from "../Names.ts"

export type Half = "infrastructure" | "bootstrap"

export type Verb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete"

export interface PolicyRule {
  readonly apiGroups: ReadonlyArray<string>
  readonly resources: ReadonlyArray<string>
  readonly verbs: ReadonlyArray<Verb>
}

const LOOK: ReadonlyArray<Verb> = ["get", "list", "watch"]

const rule = (apiGroup: string, resources: ReadonlyArray<string>, verbs: ReadonlyArray<Verb>): PolicyRule => ({
  apiGroups: [apiGroup],
  resources,
  verbs
})

/** Kinds of ours, by half, as they stand in URLs. Templates are CAPI's to clone. */
export const OUR_RESOURCES: Readonly<Record<Half, ReadonlyArray<string>>> = {
  infrastructure: ["pooledremotemachines", "remoteclusters", "remotemachines"],
  bootstrap: ["k0scontrollerconfigs", "k0sworkerconfigs"]
}

export const GROUPS: Readonly<Record<Half, string>> = {
  infrastructure: Names.INFRASTRUCTURE_GROUP,
  bootstrap: Names.BOOTSTRAP_GROUP
}

const own = (half: Half): ReadonlyArray<PolicyRule> => {
  const resources = OUR_RESOURCES[half]
  return [
    rule(GROUPS[half], resources, [...LOOK, "patch"]),
    rule(
      GROUPS[half],
      resources.map((resource) => `${resource}/status`),
      ["patch"]
    ),
    // Asked for by admission where owner references that block deletion are set (OpenShift has that on).
    rule(
      GROUPS[half],
      resources.map((resource) => `${resource}/finalizers`),
      ["update"]
    )
  ]
}

const events = rule("", ["events"], ["create", "patch"])

export const RULES: Readonly<Record<Half, ReadonlyArray<PolicyRule>>> = {
  infrastructure: [
    ...own("infrastructure"),
    // Labels and annotations of a host go to the Machine.
    rule(Names.CLUSTER_GROUP, ["machines"], [...LOOK, "patch"]),
    rule(Names.CLUSTER_GROUP, ["clusters"], LOOK),
    // SSH keys and bootstrap data; a key that is needed to clean a host carries our finalizer.
    rule("", ["secrets"], [...LOOK, "patch"]),
    events
  ],
  bootstrap: [
    ...own("bootstrap"),
    rule(Names.CLUSTER_GROUP, ["clusters", "machinepools", "machines"], LOOK),
    // Which host a machine has: the Node of the host's former tenant goes before the new one registers.
    rule(Names.INFRASTRUCTURE_GROUP, ["remotemachines"], LOOK),
    rule(Names.CONTROL_PLANE_GROUP, ["k0smotroncontrolplanes"], ["get"]),
    // The bootstrap data, certificates, kubeconfigs of workload clusters, contents of files.
    rule("", ["secrets"], [...LOOK, "create", "patch", "delete"]),
    rule("", ["configmaps"], LOOK),
    events
  ]
}

/** What leader election needs, in the provider's own namespace. */
export const LEASE_RULES: ReadonlyArray<PolicyRule> = [
  rule("coordination.k8s.io", ["leases"], ["get", "create", "patch"])
]

/** For CAPI's core, which aggregates it: it clones, owns and deletes objects of ours. */
export const coreRules = (half: Half): ReadonlyArray<PolicyRule> => [
  rule(GROUPS[half], ["*"], ["create", "delete", "get", "list", "patch", "update", "watch"])
]

export interface AskedFor {
  readonly group: string
  /** With its subresource: `remotemachines/status`. */
  readonly resource: string
  readonly verb: Verb
}

/** As the API server's RBAC decides, for rules without names. */
export const isAllowed = (rules: ReadonlyArray<PolicyRule>, { group, resource, verb }: AskedFor): boolean =>
  rules.some(
    ({ apiGroups, resources, verbs }) =>
      apiGroups.includes(group) && (resources.includes("*") || resources.includes(resource)) && verbs.includes(verb)
  )
