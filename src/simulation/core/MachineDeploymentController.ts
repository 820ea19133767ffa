/**
 * Owns what core does for a MachineDeployment (CAPI v1.13, internal/controllers/machinedeployment): defaults of its
 * webhook, its sets and their labels, revisions, the rollout that Rollout.ts plans, old sets cleaned up once it is done
 * (none are kept, as since v1.11), counts, conditions, phase, deletion.
 *
 * Unlike CAPI:
 * - scales-while-paused: also after its template was changed; v1.13.6 forgets that there is no new set yet
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Names from "../../api/Names.ts"
import type { ConditionInput } from "../../domain/Conditions.ts"
import type { JsonObject } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import { jsonAt, objectAt, stringAt } from "../apiserver/Json.ts"
import { ownTemplate } from "./Clone.ts"
import { type Core, clusterOf, ensureFinalizer, heldByPause, INDEX, LOOK_AGAIN_MILLIS, writeStatus } from "./Core.ts"
import { behind, configReference, infrastructureReference, machineConditions } from "./MachineSetController.ts"
import * as CoreNames from "./Names.ts"
import {
  controllerOf,
  hasFinalizer,
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
import * as Rollout from "./Rollout.ts"
import { matches, selectorOf, selectorText } from "./Selector.ts"
import * as View from "./View.ts"
import type { Again } from "./WorkQueue.ts"

/** What CAPI's webhook fills in, and the Cluster as owner. */
const ensureDefaults = (core: Core, cluster: Raw, deployment: Raw): Effect.Effect<Raw, KubeError> => {
  const labels = { [Names.CLUSTER_NAME_LABEL]: cluster.metadata.name }
  const selector = selectorOf(deployment)
  const given = Object.keys(selector.labels).length > 0 || selector.expressions.length > 0
  const own = given ? {} : { [CoreNames.DEPLOYMENT_NAME_LABEL]: deployment.metadata.name }
  const version = View.nonEmpty(stringAt(deployment.spec, "template", "spec", "version"))
  return core.machineDeployments.patch(deployment, {
    metadata: { labels, ownerReferences: withOwner(deployment, ownerJson(cluster, "owner")) },
    spec: {
      ...(View.replicasOf(deployment) === undefined ? { replicas: 1 } : {}),
      ...defaultStrategy(deployment),
      selector: { matchLabels: { ...labels, ...own } },
      template: {
        metadata: { labels: { ...labels, ...own } },
        ...(version === undefined || version.startsWith("v") ? {} : { spec: { version: `v${version}` } })
      }
    }
  })
}

const defaultStrategy = (deployment: Raw): JsonObject => {
  const old = Object.keys(objectAt(deployment.spec, "strategy")).length > 0
  const strategy = Rollout.strategyOf(deployment)
  const json =
    strategy.type === "OnDelete"
      ? { type: strategy.type }
      : {
          type: strategy.type,
          rollingUpdate: { maxSurge: strategy.maxSurge, maxUnavailable: strategy.maxUnavailable }
        }
  return old || !View.isV1Beta2(deployment) ? { strategy: json } : { rollout: { strategy: json } }
}

/** Those it controls, and orphans that match, which it adopts. */
const setsOf = Effect.fnUntraced(function* (
  core: Core,
  cluster: Raw,
  deployment: Raw
): Effect.fn.Return<ReadonlyArray<Raw>, KubeError> {
  const own = yield* core.machineSets.byIndex(INDEX.controller, deployment.metadata.uid ?? "")
  if (isDeleting(deployment)) return own
  const all = yield* core.machineSets.byIndex(INDEX.cluster, keyOf(cluster))
  const orphans = all.filter(
    (set) => controllerOf(set) === undefined && !isDeleting(set) && matches(selectorOf(deployment), set)
  )
  const adopted = yield* Effect.forEach(orphans, (set) =>
    core.machineSets.patch(set, { metadata: { ownerReferences: withOwner(set, ownerJson(deployment, "controller")) } })
  )
  return [...own, ...adopted].filter((set) => isControlledBy(set, deployment))
})

/** Of the deployment's annotations those that are not about it alone. */
const SKIPPED_ANNOTATIONS: ReadonlyArray<string> = [
  "kubectl.kubernetes.io/last-applied-configuration",
  CoreNames.REVISION_ANNOTATION,
  CoreNames.REVISION_HISTORY_ANNOTATION,
  CoreNames.DESIRED_REPLICAS_ANNOTATION,
  CoreNames.MAX_REPLICAS_ANNOTATION
]

const setAnnotations = (deployment: Raw): JsonObject => {
  const replicas = View.replicasOf(deployment) ?? 1
  return {
    ...Object.fromEntries(
      Object.entries(deployment.metadata.annotations ?? {}).filter(([key]) => !SKIPPED_ANNOTATIONS.includes(key))
    ),
    [CoreNames.DESIRED_REPLICAS_ANNOTATION]: String(replicas),
    [CoreNames.MAX_REPLICAS_ANNOTATION]: String(replicas + Rollout.fences(deployment).maxSurge)
  }
}

/** Fields of the deployment that its sets follow without a rollout. */
const followed = (deployment: Raw): JsonObject => {
  const order =
    stringAt(deployment.spec, "deletion", "order") ??
    stringAt(deployment.spec, "strategy", "rollingUpdate", "deletePolicy")
  const naming = jsonAt(deployment.spec, ["machineNaming"]) ?? jsonAt(deployment.spec, ["machineNamingStrategy"])
  const current = View.isV1Beta2(deployment)
  return {
    ...(order === undefined ? {} : current ? { deletion: { order } } : { deletePolicy: order }),
    ...(naming === undefined ? {} : { [current ? "machineNaming" : "machineNamingStrategy"]: naming })
  }
}

const labelsFor = (deployment: Raw, hash: string): JsonObject => ({
  ...objectAt(deployment.spec, "template", "metadata", "labels"),
  [CoreNames.TEMPLATE_HASH_LABEL]: hash
})

const createSet = Effect.fnUntraced(function* (
  core: Core,
  deployment: Raw,
  sets: Rollout.Sets
): Effect.fn.Return<Raw, KubeError> {
  const label = `${CoreNames.DEPLOYMENT_NAME_LABEL}=${deployment.metadata.name}`
  const isCurrent = yield* core.machineSets.confirm(
    namespaceOf(deployment),
    label,
    sets.old.filter((set) => set.metadata.labels?.[CoreNames.DEPLOYMENT_NAME_LABEL] === deployment.metadata.name)
      .length,
    (set) => isControlledBy(set, deployment)
  )
  if (!isCurrent) return yield* behind(deployment)
  const suffix = yield* CoreNames.randomSuffix
  const hash = `${CoreNames.hashOf(Rollout.rolloutFields(Rollout.templateOf(deployment)))}-${suffix}`
  const labels = labelsFor(deployment, hash)
  const selector = objectAt(deployment.spec, "selector")
  return yield* core.machineSets.create({
    metadata: {
      name: CoreNames.generatedName(deployment.metadata.name, suffix),
      namespace: namespaceOf(deployment),
      labels: { ...labels, [CoreNames.DEPLOYMENT_NAME_LABEL]: deployment.metadata.name },
      annotations: {
        ...setAnnotations(deployment),
        ...Rollout.revisionAnnotations(sets),
        [CoreNames.DISABLE_MACHINE_CREATE_ANNOTATION]: "false"
      },
      ownerReferences: [ownerJson(deployment, "controller")]
    },
    spec: {
      clusterName: View.clusterNameOf(deployment),
      replicas: 0,
      selector: {
        ...selector,
        matchLabels: { ...objectAt(selector, "matchLabels"), [CoreNames.TEMPLATE_HASH_LABEL]: hash }
      },
      ...followed(deployment),
      template: {
        metadata: { labels, annotations: objectAt(deployment.spec, "template", "metadata", "annotations") },
        spec: Rollout.templateOf(deployment)
      }
    }
  })
})

/** Labels and annotations follow the deployment in place; so does what is not part of a rollout. */
const syncSet = (core: Core, deployment: Raw, set: Raw, extra: JsonObject, replicas: number | undefined) => {
  const labels = labelsFor(deployment, set.metadata.labels?.[CoreNames.TEMPLATE_HASH_LABEL] ?? "")
  const { minReadySeconds, readinessGates, deletion, taints } = Rollout.templateOf(deployment)
  const kept = { minReadySeconds, readinessGates, deletion, taints }
  return core.machineSets.patch(set, {
    metadata: {
      labels: { ...labels, [CoreNames.DEPLOYMENT_NAME_LABEL]: deployment.metadata.name },
      annotations: { ...setAnnotations(deployment), ...extra }
    },
    spec: {
      ...(replicas === undefined ? {} : { replicas }),
      ...followed(deployment),
      template: {
        metadata: { labels, annotations: objectAt(deployment.spec, "template", "metadata", "annotations") },
        spec: Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined))
      }
    }
  })
}

/** The current set first, so that what replaces is asked for before what is replaced goes. */
const rollOut = Effect.fnUntraced(function* (
  core: Core,
  deployment: Raw,
  found: Rollout.Sets
): Effect.fn.Return<{ readonly sets: ReadonlyArray<Raw>; readonly current: Raw | undefined }, KubeError> {
  const paused = jsonAt(deployment.spec, ["paused"]) === true
  const current = found.current ?? (paused ? undefined : yield* createSet(core, deployment, found))
  const { old } = found
  const plan =
    paused || current === undefined
      ? Rollout.scaleOnly(deployment, { current, old })
      : Rollout.plan(deployment, current, old)
  const disabled = String(Rollout.strategyOf(deployment).type === "OnDelete")
  const synced =
    current === undefined
      ? undefined
      : yield* syncSet(
          core,
          deployment,
          current,
          { ...Rollout.revisionAnnotations({ current, old }), [CoreNames.DISABLE_MACHINE_CREATE_ANNOTATION]: "false" },
          plan.get(current.metadata.name)
        )
  const others = yield* Effect.forEach(
    old.filter((set) => !isDeleting(set)),
    (set) =>
      syncSet(
        core,
        deployment,
        set,
        { [CoreNames.DISABLE_MACHINE_CREATE_ANNOTATION]: disabled },
        plan.get(set.metadata.name)
      )
  )
  const going = old.filter(isDeleting)
  return { sets: [...going, ...others, ...(synced === undefined ? [] : [synced])], current: synced }
})

const cleanUp = (core: Core, sets: ReadonlyArray<Raw>, current: Raw | undefined) =>
  Effect.forEach(
    sets.filter(
      (set) =>
        set.metadata.uid !== current?.metadata.uid &&
        !isDeleting(set) &&
        View.replicasOf(set) === 0 &&
        View.statusCount(set, "replicas") === 0 &&
        View.observedGeneration(set) >= (set.metadata.generation ?? 0)
    ),
    core.machineSets.remove,
    { discard: true }
  )

const sum = (sets: ReadonlyArray<Raw>, field: string): number =>
  sets.reduce((total, set) => total + View.statusCount(set, field), 0)

const upToDateReplicas = (sets: ReadonlyArray<Raw>, current: Raw | undefined, machines: ReadonlyArray<Raw>): number =>
  current !== undefined && View.isV1Beta2(current)
    ? sum(sets, "upToDateReplicas")
    : machines.filter((machine) => View.isConditionTrue(machine, "UpToDate")).length

const statusFields = (deployment: Raw, sets: ReadonlyArray<Raw>, upToDate: number): JsonObject => {
  const replicas = sum(sets, "replicas")
  const wanted = View.replicasOf(deployment) ?? 1
  const availableReplicas = sum(sets, "availableReplicas")
  const phase =
    isDeleting(deployment) || wanted < replicas ? "ScalingDown" : wanted > replicas ? "ScalingUp" : "Running"
  return {
    selector: selectorText(selectorOf(deployment)),
    phase,
    replicas,
    readyReplicas: sum(sets, "readyReplicas"),
    availableReplicas,
    ...(View.isV1Beta2(deployment)
      ? { upToDateReplicas: upToDate }
      : { updatedReplicas: upToDate, unavailableReplicas: Math.max(0, replicas - availableReplicas) })
  }
}

const conditionsFor = (
  deployment: Raw,
  cluster: Raw,
  sets: ReadonlyArray<Raw>,
  machines: ReadonlyArray<Raw>,
  missing: ReadonlyArray<string>
): ReadonlyArray<ConditionInput> => {
  const wanted = View.replicasOf(deployment) ?? 1
  const needed = wanted - Rollout.fences(deployment).maxUnavailable
  const available = sum(sets, "availableReplicas")
  const rolling = machines.filter((machine) => View.condition(machine, "UpToDate")?.status === "False")
  return [
    available >= needed
      ? { type: "Available", status: "True", reason: "Available" }
      : {
          type: "Available",
          status: "False",
          reason: "NotAvailable",
          message: isDeleting(deployment)
            ? "Deletion in progress"
            : `${available} available replicas, at least ${needed} required`
        },
    rolling.length === 0
      ? { type: "RollingOut", status: "False", reason: "NotRollingOut" }
      : {
          type: "RollingOut",
          status: "True",
          reason: "RollingOut",
          message: `Rolling out ${rolling.length} not up-to-date replicas`
        },
    ...machineConditions(deployment, machines, missing),
    View.pausedCondition(deployment, cluster, Names.PAUSED_ANNOTATION)
  ]
}

const machinesOf = (core: Core, sets: ReadonlyArray<Raw>) =>
  Effect.map(
    Effect.forEach(sets, (set) => core.machines.byIndex(INDEX.controller, set.metadata.uid ?? "")),
    (found) => found.flat()
  )

const reconcileDelete = Effect.fnUntraced(function* (core: Core, cluster: Raw, deployment: Raw) {
  const sets = yield* setsOf(core, cluster, deployment)
  yield* Effect.forEach(
    sets.filter((set) => !isDeleting(set)),
    core.machineSets.remove,
    { discard: true }
  )
  const machines = yield* machinesOf(core, sets)
  const written = yield* writeStatus(
    core.machineDeployments,
    deployment,
    statusFields(deployment, sets, 0),
    conditionsFor(deployment, cluster, sets, machines, [])
  )
  if (sets.length > 0) return
  const finalizers = withoutFinalizer(written, CoreNames.MACHINE_DEPLOYMENT_FINALIZER)
  yield* core.machineDeployments.patch(written, { metadata: { finalizers } })
})

export const reconcile = Effect.fnUntraced(function* (core: Core, key: string): Effect.fn.Return<Again, KubeError> {
  const found = yield* core.machineDeployments.get(refOfKey(key))
  if (found === undefined || (isDeleting(found) && !hasFinalizer(found, CoreNames.MACHINE_DEPLOYMENT_FINALIZER)))
    return undefined
  const cluster = yield* clusterOf(core, found)
  if (cluster === undefined) return undefined
  let deployment = yield* ensureFinalizer(core.machineDeployments, found, CoreNames.MACHINE_DEPLOYMENT_FINALIZER)
  if (yield* heldByPause(core.machineDeployments, deployment, cluster)) return undefined
  if (isDeleting(deployment)) {
    yield* reconcileDelete(core, cluster, deployment)
    return undefined
  }
  deployment = yield* ensureDefaults(core, cluster, deployment)
  const references = [configReference(deployment), infrastructureReference(deployment)]
  const present = yield* Effect.forEach(references, (one) => ownTemplate(core.foreign, cluster, one))
  const missing = references.flatMap((one, index) => (one !== undefined && present[index] === false ? [one.kind] : []))
  const nowMillis = yield* Clock.currentTimeMillis
  const before = Rollout.findSets(deployment, yield* setsOf(core, cluster, deployment), nowMillis)
  // A set of templates that are not there could make nothing: none is made. Those there are go on.
  const rolled =
    missing.length > 0 && before.current === undefined
      ? { sets: before.old, current: undefined }
      : yield* rollOut(core, deployment, before)
  const { current, sets } = rolled
  const machines = yield* machinesOf(core, sets)
  const upToDate = upToDateReplicas(sets, current, machines)
  const revision = current?.metadata.annotations?.[CoreNames.REVISION_ANNOTATION]
  if (revision !== undefined)
    deployment = yield* core.machineDeployments.patch(deployment, {
      metadata: { annotations: { [CoreNames.REVISION_ANNOTATION]: revision } }
    })
  yield* writeStatus(
    core.machineDeployments,
    deployment,
    statusFields(deployment, sets, upToDate),
    conditionsFor(deployment, cluster, sets, machines, missing)
  )
  if (Rollout.isComplete(deployment, sets, upToDate)) yield* cleanUp(core, sets, current)
  return missing.length > 0 ? LOOK_AGAIN_MILLIS : Rollout.untilRollout(deployment, nowMillis)
})
