/**
 * Owns what core does for a MachineSet (CAPI v1.13, internal/controllers/machineset): defaults of its webhook, as many
 * Machines as wanted (each after its bootstrap config and infrastructure machine), which go first, labels kept in step,
 * counts and conditions, deletion.
 *
 * Unlike CAPI:
 * - no-remediation: a Machine that a MachineHealthCheck gave up on is not replaced
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Names from "../../api/Names.ts"
import type { ConditionInput } from "../../domain/Conditions.ts"
import type { JsonObject } from "../../kube/KubeClient.ts"
import { KubeError } from "../../kube/KubeError.ts"
import { objectAt, stringAt } from "../apiserver/Json.ts"
import { type Cloned, clone, ownTemplate } from "./Clone.ts"
import { type Core, clusterOf, ensureFinalizer, heldByPause, INDEX, LOOK_AGAIN_MILLIS, writeStatus } from "./Core.ts"
import { isBetween, toDelete } from "./DeletionOrder.ts"
import * as CoreNames from "./Names.ts"
import { preflight } from "./Preflight.ts"
import {
  controllerOf,
  hasFinalizer,
  hasOwnerOfKind,
  isControlledBy,
  isDeleting,
  keyOf,
  namespaceOf,
  ownerJson,
  type Raw,
  refOfKey,
  withOwner,
  withoutFinalizer
} from "./Raw.ts"
import { templateOf } from "./Rollout.ts"
import { matches, selectorOf, selectorText } from "./Selector.ts"
import * as View from "./View.ts"
import type { Again } from "./WorkQueue.ts"

export const configReference = (owner: Raw) => View.referenceAt(owner, "template", "spec", "bootstrap", "configRef")
export const infrastructureReference = (owner: Raw) => View.referenceAt(owner, "template", "spec", "infrastructureRef")

/** What CAPI's webhook fills in, and the Cluster as owner of a set that no deployment made. */
const ensureDefaults = (core: Core, cluster: Raw, set: Raw): Effect.Effect<Raw, KubeError> => {
  const name = cluster.metadata.name
  const inDeployment = set.metadata.labels?.[CoreNames.DEPLOYMENT_NAME_LABEL] !== undefined
  const owned = inDeployment || hasOwnerOfKind(set, Names.CLUSTER_GROUP, "MachineDeployment", "Cluster")
  const selector = selectorOf(set)
  const given = Object.keys(selector.labels).length > 0 || selector.expressions.length > 0
  const own = given ? {} : { [CoreNames.SET_NAME_LABEL]: CoreNames.labelValue(set.metadata.name) }
  const labels = { [Names.CLUSTER_NAME_LABEL]: name }
  return core.machineSets.patch(set, {
    metadata: {
      labels,
      ...(owned ? {} : { ownerReferences: withOwner(set, ownerJson(cluster, "owner")) })
    },
    spec: {
      ...(View.replicasOf(set) === undefined ? { replicas: 1 } : {}),
      selector: { matchLabels: { ...labels, ...own } },
      template: { metadata: { labels: { ...labels, ...own } } }
    }
  })
}

/** Those it controls, and orphans that match, which it adopts. */
const machinesOf = Effect.fnUntraced(function* (
  core: Core,
  cluster: Raw,
  set: Raw
): Effect.fn.Return<ReadonlyArray<Raw>, KubeError> {
  const own = yield* core.machines.byIndex(INDEX.controller, set.metadata.uid ?? "")
  if (isDeleting(set)) return own
  const all = yield* core.machines.byIndex(INDEX.cluster, keyOf(cluster))
  const orphans = all.filter(
    (machine) => controllerOf(machine) === undefined && !isDeleting(machine) && matches(selectorOf(set), machine)
  )
  const adopted = yield* Effect.forEach(orphans, (machine) =>
    core.machines.patch(machine, { metadata: { ownerReferences: withOwner(machine, ownerJson(set, "controller")) } })
  )
  return [...own.filter((machine) => !adopted.some((one) => one.metadata.uid === machine.metadata.uid)), ...adopted]
})

const machineLabels = (set: Raw): JsonObject => {
  const deployment = set.metadata.labels?.[CoreNames.DEPLOYMENT_NAME_LABEL]
  return {
    ...objectAt(set.spec, "template", "metadata", "labels"),
    [CoreNames.SET_NAME_LABEL]: CoreNames.labelValue(set.metadata.name),
    ...(deployment === undefined ? {} : { [CoreNames.DEPLOYMENT_NAME_LABEL]: deployment })
  }
}

/** Changed in the template without a rollout: they follow on the Machines there are. */
const IN_PLACE = [
  "readinessGates",
  "minReadySeconds",
  "taints",
  "deletion",
  "nodeDrainTimeout",
  "nodeVolumeDetachTimeout",
  "nodeDeletionTimeout"
] as const

const inPlace = (set: Raw): JsonObject => {
  const template = templateOf(set)
  return Object.fromEntries(
    IN_PLACE.flatMap((field) => (template[field] === undefined ? [] : [[field, template[field]]]))
  )
}

const syncMachines = (core: Core, set: Raw, machines: ReadonlyArray<Raw>) =>
  Effect.forEach(machines, (machine) =>
    core.machines.patch(machine, {
      ...(isDeleting(machine)
        ? {}
        : {
            metadata: {
              labels: machineLabels(set),
              annotations: objectAt(set.spec, "template", "metadata", "annotations")
            }
          }),
      spec: inPlace(set)
    })
  )

const machineName = Effect.fnUntraced(function* (set: Raw) {
  const suffix = yield* CoreNames.randomSuffix
  const template =
    stringAt(set.spec, "machineNaming", "template") ?? stringAt(set.spec, "machineNamingStrategy", "template")
  if (template === undefined) return CoreNames.generatedName(set.metadata.name, suffix)
  return template
    .replaceAll(/\{\{\s*\.random\s*\}\}/g, suffix)
    .replaceAll(/\{\{\s*\.machineSet\.name\s*\}\}/g, set.metadata.name)
    .replaceAll(/\{\{\s*\.cluster\.name\s*\}\}/g, View.clusterNameOf(set) ?? "")
})

/** Bootstrap config, infrastructure machine, Machine; what was made is taken back when the next can't be. */
const createMachine = Effect.fnUntraced(function* (
  core: Core,
  cluster: Raw,
  set: Raw
): Effect.fn.Return<Raw, KubeError> {
  const name = yield* machineName(set)
  const labels = machineLabels(set)
  const annotations = objectAt(set.spec, "template", "metadata", "annotations")
  const common = { name, cluster: cluster.metadata.name, labels, annotations, owner: ownerJson(set, "owner") }
  const made: Array<Cloned> = []
  const takeBack = Effect.suspend(() =>
    Effect.forEach([...made].reverse(), ({ object, tracked }) => Effect.ignore(tracked.remove(object)), {
      discard: true
    })
  )
  return yield* Effect.gen(function* () {
    const configTemplate = configReference(set)
    const config =
      configTemplate === undefined ? undefined : yield* clone(core.foreign, { ...common, template: configTemplate })
    if (config !== undefined) made.push(config)
    const infrastructureTemplate = infrastructureReference(set)
    const infrastructure =
      infrastructureTemplate === undefined
        ? undefined
        : yield* clone(core.foreign, { ...common, template: infrastructureTemplate })
    if (infrastructure !== undefined) made.push(infrastructure)
    const { configRef: _, ...bootstrap } = objectAt(templateOf(set), "bootstrap")
    return yield* core.machines.create({
      metadata: {
        name,
        namespace: namespaceOf(set),
        labels,
        annotations,
        finalizers: [CoreNames.MACHINE_FINALIZER],
        ownerReferences: [ownerJson(set, "controller")]
      },
      spec: {
        ...templateOf(set),
        clusterName: cluster.metadata.name,
        bootstrap: {
          ...bootstrap,
          ...(config === undefined ? {} : { configRef: View.referenceJson(set, config.object) })
        },
        ...(infrastructure === undefined ? {} : { infrastructureRef: View.referenceJson(set, infrastructure.object) })
      }
    })
  }).pipe(
    // A Machine that may be there must not lose what it refers to: then rather a clone too many.
    Effect.tapError((error) => (error.reason === "Unavailable" ? Effect.void : takeBack))
  )
})

/** Adopted Machines get the set's own label a moment later. */
const isLabelled = (set: Raw) => (machine: Raw) =>
  machine.metadata.labels?.[CoreNames.SET_NAME_LABEL] === CoreNames.labelValue(set.metadata.name)

/** The copy lags behind what was written: nothing is made up for until it has caught up. */
export const behind = (owner: Raw): KubeError =>
  new KubeError({
    reason: "Conflict",
    verb: "list",
    kind: owner.kind ?? "",
    namespace: namespaceOf(owner),
    name: owner.metadata.name,
    message: "what is shown of its objects is older than what was written"
  })

/** Deleting Machines count until they are gone: their host comes back to the pool before another is asked for. */
const syncReplicas = Effect.fnUntraced(function* (
  core: Core,
  cluster: Raw,
  set: Raw,
  machines: ReadonlyArray<Raw>
): Effect.fn.Return<ReadonlyArray<Raw>, KubeError> {
  const wanted = View.replicasOf(set) ?? 1
  if (machines.length > wanted) {
    const nowMillis = yield* Clock.currentTimeMillis
    const chosen = toDelete(set, machines, machines.length - wanted, nowMillis)
    yield* Effect.forEach(
      chosen.filter((machine) => !isDeleting(machine)),
      core.machines.remove,
      { discard: true }
    )
    return machines
  }
  if (set.metadata.annotations?.[CoreNames.DISABLE_MACHINE_CREATE_ANNOTATION] === "true") return machines
  const label = `${CoreNames.SET_NAME_LABEL}=${CoreNames.labelValue(set.metadata.name)}`
  const own = (machine: Raw) => isControlledBy(machine, set)
  const isCurrent =
    machines.length >= wanted ||
    (yield* core.machines.confirm(namespaceOf(set), label, machines.filter(isLabelled(set)).length, own))
  if (!isCurrent) return yield* behind(set)
  const created: Array<Raw> = []
  while (machines.length + created.length < wanted) created.push(yield* createMachine(core, cluster, set))
  return [...machines, ...created]
})

// ------------------------------------------------------------------------------------------------------- status

const aggregate = (
  type: string,
  from: string,
  machines: ReadonlyArray<Raw>,
  reasons: readonly [string, string]
): ConditionInput => {
  if (machines.length === 0) return { type, status: "True", reason: "NoReplicas" }
  const bad = machines.filter((machine) => !View.isConditionTrue(machine, from))
  const names = bad.map((machine) => machine.metadata.name).sort()
  return bad.length === 0
    ? { type, status: "True", reason: reasons[0] }
    : {
        type,
        status: "False",
        reason: reasons[1],
        message: `* Machines ${names.slice(0, 3).join(", ")}${names.length > 3 ? ", ..." : ""}: not ${from}`
      }
}

/** Shared with MachineDeployments, whose conditions of these names say the same. */
export const machineConditions = (
  owner: Raw,
  machines: ReadonlyArray<Raw>,
  missing: ReadonlyArray<string>,
  against: ReadonlyArray<string> = []
): ReadonlyArray<ConditionInput> => {
  const wanted = isDeleting(owner) ? 0 : (View.replicasOf(owner) ?? 1)
  const up = machines.length < wanted
  const down = machines.length > wanted
  const absent = `${missing.join(" and ")} ${missing.length === 1 ? "does" : "do"} not exist`
  const reasons = [...against, ...(missing.length === 0 ? [] : [absent])].map((one) => `\n* ${one}`)
  const blocked = reasons.length === 0 ? "" : ` is blocked because:${reasons.join("")}`
  return [
    aggregate("MachinesReady", "Ready", machines, ["Ready", "NotReady"]),
    aggregate(
      "MachinesUpToDate",
      "UpToDate",
      machines.filter((one) => View.condition(one, "UpToDate") !== undefined),
      ["UpToDate", "NotUpToDate"]
    ),
    up
      ? {
          type: "ScalingUp",
          status: "True",
          reason: "ScalingUp",
          message: `Scaling up from ${machines.length} to ${wanted} replicas${blocked}`
        }
      : { type: "ScalingUp", status: "False", reason: "NotScalingUp" },
    down
      ? {
          type: "ScalingDown",
          status: "True",
          reason: "ScalingDown",
          message: `Scaling down from ${machines.length} to ${wanted} replicas`
        }
      : { type: "ScalingDown", status: "False", reason: "NotScalingDown" },
    { type: "Remediating", status: "False", reason: "NotRemediating" },
    isDeleting(owner)
      ? { type: "Deleting", status: "True", reason: "Deleting", message: `Deleting ${machines.length} Machines` }
      : { type: "Deleting", status: "False", reason: "NotDeleting" }
  ]
}

const status = (set: Raw, machines: ReadonlyArray<Raw>): JsonObject => {
  const many = (type: string) => machines.filter((machine) => View.isConditionTrue(machine, type)).length
  return {
    selector: selectorText(selectorOf(set)),
    replicas: machines.length,
    readyReplicas: many("Ready"),
    availableReplicas: many("Available"),
    ...(View.isV1Beta2(set)
      ? { upToDateReplicas: many("UpToDate") }
      : { fullyLabeledReplicas: machines.filter((machine) => isBetween(set, machine)).length })
  }
}

export const reconcile = Effect.fnUntraced(function* (core: Core, key: string): Effect.fn.Return<Again, KubeError> {
  const found = yield* core.machineSets.get(refOfKey(key))
  if (found === undefined || (isDeleting(found) && !hasFinalizer(found, CoreNames.MACHINE_SET_FINALIZER)))
    return undefined
  const cluster = yield* clusterOf(core, found)
  if (cluster === undefined) return undefined
  let set = yield* ensureFinalizer(core.machineSets, found, CoreNames.MACHINE_SET_FINALIZER)
  if (yield* heldByPause(core.machineSets, set, cluster)) return undefined
  if (!isDeleting(set)) set = yield* ensureDefaults(core, cluster, set)
  const references = [configReference(set), infrastructureReference(set)]
  const present = isDeleting(set)
    ? []
    : yield* Effect.forEach(references, (one) => ownTemplate(core.foreign, cluster, one))
  const missing = references.flatMap((one, index) => (one !== undefined && present[index] === false ? [one.kind] : []))
  let machines: ReadonlyArray<Raw> = (yield* machinesOf(core, cluster, set)).filter((machine) =>
    isControlledBy(machine, set)
  )
  const wanted = View.replicasOf(set) ?? 1
  let against: ReadonlyArray<string> = []
  if (isDeleting(set)) {
    yield* Effect.forEach(
      machines.filter((machine) => !isDeleting(machine)),
      core.machines.remove,
      { discard: true }
    )
  } else {
    machines = yield* syncMachines(core, set, machines)
    if (machines.length < wanted && missing.length === 0) against = yield* preflight(core, cluster, set)
    // What can't be cloned can't be scaled up to; down always goes.
    if ((missing.length === 0 && against.length === 0) || machines.length > wanted)
      machines = yield* syncReplicas(core, cluster, set, machines)
  }
  set = yield* writeStatus(core.machineSets, set, status(set, machines), [
    ...machineConditions(set, machines, missing, against),
    View.pausedCondition(set, cluster, Names.PAUSED_ANNOTATION)
  ])
  if (isDeleting(set) && machines.length === 0)
    yield* core.machineSets.patch(set, {
      metadata: { finalizers: withoutFinalizer(set, CoreNames.MACHINE_SET_FINALIZER) }
    })
  return missing.length + against.length > 0 && !isDeleting(set) ? LOOK_AGAIN_MILLIS : undefined
})
