/**
 * Owns what a Machine's status says of what was seen: phase, and the conditions BootstrapConfigReady,
 * InfrastructureReady, NodeReady, NodeHealthy, Deleting, Updating, UpToDate, Ready, Available, Paused. Pure. Does not
 * own what was seen (MachineController.ts).
 */
import * as Names from "../../api/Names.ts"
import type { ConditionInput } from "../../domain/Conditions.ts"
import { jsonAt } from "../apiserver/Json.ts"
import type { Deletion } from "./MachineDeletion.ts"
import type { External, Scene } from "./MachineScene.ts"
import { isDeleting, type Raw } from "./Raw.ts"
import * as View from "./View.ts"
import { nodeConditionStatus } from "./WorkloadNodes.ts"

export const phaseOf = (
  machine: Raw,
  facts: { readonly hasData: boolean; readonly isProvisioned: boolean; readonly nodeName: string | undefined }
): string => {
  if (isDeleting(machine)) return "Deleting"
  if (facts.nodeName !== undefined && facts.isProvisioned) return "Running"
  if (View.providerIdOf(machine) !== undefined) return "Provisioned"
  return facts.hasData && !facts.isProvisioned ? "Provisioning" : "Pending"
}

interface Wording {
  readonly type: string
  readonly field: string
  readonly reached: boolean
}

const external = (machine: Raw, { object, reference }: External, wording: Wording): ConditionInput => {
  const { field, reached, type } = wording
  const kind = reference?.kind ?? ""
  if (object !== undefined)
    return View.mirrored(object, "Ready", type, {
      status: reached ? "True" : "False",
      reason: reached ? "Ready" : "NotReady",
      message: reached ? "" : `${kind} ${field} is false`
    })
  if (!reached) return { type, status: "False", reason: "DoesNotExist", message: `${kind} does not exist` }
  const message = isDeleting(machine)
    ? `${kind} has been deleted`
    : `${kind} has been deleted while the Machine still exists`
  return { type, status: "False", reason: "Deleted", message }
}

const bootstrapReady = ({ bootstrap, machine }: Scene): ConditionInput => {
  const type = "BootstrapConfigReady"
  if (bootstrap.reference === undefined) return { type, status: "True", reason: "DataSecretProvided" }
  return external(machine, bootstrap, {
    type,
    field: "status.initialization.dataSecretCreated",
    reached:
      View.machineDataCreated(machine) ||
      View.nonEmpty(String(jsonAt(machine.spec, ["bootstrap", "dataSecretName"]) ?? "")) !== undefined
  })
}

const infrastructureReady = ({ infrastructure, machine }: Scene): ConditionInput =>
  external(machine, infrastructure, {
    type: "InfrastructureReady",
    field: "status.initialization.provisioned",
    reached: View.machineProvisioned(machine) || View.providerIdOf(machine) !== undefined
  })

/** What a kubelet reports, and what each should be: one that is not reported makes the Machine's health unknown. */
const REPORTED = { Ready: "True", MemoryPressure: "False", DiskPressure: "False", PIDPressure: "False" } as const

const both = (status: ConditionInput["status"], reason: string, message: string): ReadonlyArray<ConditionInput> =>
  ["NodeReady", "NodeHealthy"].map((type) => ({ type, status, reason, message }))

const nodeConditions = ({
  ambiguous,
  cluster,
  connected,
  infrastructure,
  machine,
  node
}: Scene): ReadonlyArray<ConditionInput> => {
  if (!View.clusterProvisioned(cluster))
    return both(
      "Unknown",
      "InspectionFailed",
      "Waiting for Cluster status.initialization.infrastructureProvisioned to be true"
    )
  if (!View.clusterInitialized(cluster))
    return both("Unknown", "InspectionFailed", "Waiting for Cluster control plane to be initialized")
  if (!connected) return both("Unknown", "ConnectionDown", "Remote connection not established yet")
  if (ambiguous) return both("Unknown", "InternalError", "Please check controller logs for errors")
  if (node !== undefined) return ofNode(node)
  const name = View.nodeNameOf(machine)
  if (name !== undefined) {
    const message = isDeleting(machine)
      ? `Node ${name} has been deleted`
      : `Node ${name} has been deleted while the Machine still exists`
    return both("False", "NodeDeleted", message)
  }
  if (isDeleting(machine)) return both("Unknown", "NodeDoesNotExist", "Node does not exist")
  const id = View.providerIdOf(machine)
  const message =
    id === undefined
      ? `Waiting for ${infrastructure.reference?.kind ?? "the infrastructure"} to report spec.providerID`
      : `Waiting for a Node with spec.providerID ${id} to exist`
  return both("Unknown", "InspectionFailed", message)
}

const ofNode = (node: Raw): ReadonlyArray<ConditionInput> => {
  const ready = nodeConditionStatus(node, "Ready")
  const issues = Object.entries(REPORTED).flatMap(([type, good]) => {
    const status = nodeConditionStatus(node, type)
    if (status === good) return []
    const text = status === undefined ? "Condition not yet reported" : `Condition is ${status}`
    return [{ text: `* Node.${type}: ${text}`, isUnknown: status === undefined || status === "Unknown" }]
  })
  const status = ready === "True" ? "True" : ready === "False" ? "False" : "Unknown"
  const readyReason = { True: "NodeReady", False: "NodeNotReady", Unknown: "NodeReadyUnknown" } as const
  const healthy = issues.length === 0 ? "True" : issues.every(({ isUnknown }) => isUnknown) ? "Unknown" : "False"
  const healthyReason = { True: "NodeHealthy", False: "NodeNotHealthy", Unknown: "NodeHealthUnknown" } as const
  return [
    { type: "NodeReady", status, reason: readyReason[status] },
    {
      type: "NodeHealthy",
      status: healthy,
      reason: healthyReason[healthy],
      message: issues.map(({ text }) => text).join("\n")
    }
  ]
}

const upToDate = ({ outdated }: Scene): ReadonlyArray<ConditionInput> => {
  if (outdated === undefined) return []
  return outdated.length === 0
    ? [{ type: "UpToDate", status: "True", reason: "UpToDate" }]
    : [
        {
          type: "UpToDate",
          status: "False",
          reason: "NotUpToDate",
          message: outdated.map((one) => `* ${one}`).join("\n")
        }
      ]
}

export interface MachineConditions {
  readonly conditions: ReadonlyArray<ConditionInput>
  /** When Available may become true by mere time, milliseconds from now. */
  readonly availableInMillis: number | undefined
}

const available = (
  machine: Raw,
  ready: ConditionInput,
  nowMillis: number
): { readonly condition: ConditionInput; readonly inMillis: number | undefined } => {
  const type = "Available"
  if (ready.status !== "True") return { condition: { type, status: "False", reason: "NotReady" }, inMillis: undefined }
  const seconds = jsonAt(machine.spec, ["minReadySeconds"])
  const before = View.condition(machine, "Ready")
  const since = before?.status === "True" ? Date.parse(before.lastTransitionTime) : nowMillis
  const left = (typeof seconds === "number" ? seconds : 0) * 1000 - (nowMillis - since)
  return left <= 0
    ? { condition: { type, status: "True", reason: "Available" }, inMillis: undefined }
    : { condition: { type, status: "False", reason: "WaitingForMinReadySeconds" }, inMillis: left }
}

export const conditionsFor = (scene: Scene, deletion: Deletion | undefined, nowMillis: number): MachineConditions => {
  const { cluster, machine } = scene
  const deleting: ConditionInput =
    deletion === undefined
      ? { type: "Deleting", status: "False", reason: "NotDeleting" }
      : { type: "Deleting", status: "True", reason: deletion.reason, message: deletion.message }
  const nodes = nodeConditions(scene)
  const [, healthy] = nodes
  const parts = [
    deleting,
    bootstrapReady(scene),
    infrastructureReady(scene),
    ...(healthy === undefined ? [] : [healthy])
  ]
  const ready = View.summary("Ready", parts, ["Deleting"], { all: "Ready", no: "NotReady", unknown: "ReadyUnknown" })
  const { condition, inMillis } = available(machine, ready, nowMillis)
  return {
    conditions: [
      ...parts.filter((one) => one !== healthy),
      ...nodes,
      { type: "Updating", status: "False", reason: "NotUpdating" },
      ...upToDate(scene),
      ready,
      condition,
      View.pausedCondition(machine, cluster, Names.PAUSED_ANNOTATION)
    ],
    availableInMillis: inMillis
  }
}
