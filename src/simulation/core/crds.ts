/**
 * Owns CRDs of CAPI's own kinds: Cluster, Machine, MachineSet, MachineDeployment, with the names, versions and columns of
 * CAPI v1.13. Schemas name the fields that matter, for `kubectl explain`, and keep everything else. Where CAPI's real
 * CRDs are installed these must not be. Does not own the kinds of the stand-ins (standins/crds.ts).
 */
import { CLUSTER_GROUP, CONTRACT_V1BETA1_LABEL, CONTRACT_V1BETA2_LABEL, PROVIDER_LABEL } from "../../api/Names.ts"
import type { JsonObject } from "../../kube/KubeClient.ts"
import {
  age,
  clusterName,
  column,
  count,
  crd,
  endpoint,
  flag,
  isTrue,
  open,
  reference,
  status,
  text,
  wide
} from "./CrdShape.ts"

const coreLabels = {
  [PROVIDER_LABEL]: "cluster-api",
  [CONTRACT_V1BETA1_LABEL]: "v1beta1",
  [CONTRACT_V1BETA2_LABEL]: "v1beta2"
}

const machineSpec = (description: string): JsonObject =>
  open(description, {
    clusterName: text("Cluster that the Machine belongs to."),
    version: text("Kubernetes version, such as v1.27.2."),
    providerID: text("Identity of the machine at its infrastructure; set by core."),
    failureDomain: text("Failure domain to be in."),
    bootstrap: open("How the machine becomes a node.", {
      configRef: reference("The bootstrap config."),
      dataSecretName: text("Secret with the bootstrap data; set by core, or given instead of a config.")
    }),
    infrastructureRef: reference("The infrastructure machine.")
  })

const template = open("What the Machines look like.", {
  metadata: open("Labels and annotations of the Machines."),
  spec: machineSpec("Spec of the Machines; its references are to templates.")
})

const counts = {
  replicas: count("Machines there are, those being deleted included."),
  readyReplicas: count("Machines that are Ready."),
  availableReplicas: count("Machines that are Available."),
  upToDateReplicas: count("Machines that are as the template wants them."),
  selector: text("The selector as text.")
}

const cluster = crd({
  group: CLUSTER_GROUP,
  kind: "Cluster",
  plural: "clusters",
  shortNames: ["cl"],
  description: "Cluster is a Kubernetes cluster: a control plane, an infrastructure, and the Machines that name it.",
  labels: coreLabels,
  versions: [
    {
      name: "v1beta1",
      deprecated: true,
      columns: [
        column("ClusterClass", ".spec.topology.class"),
        column("Phase", ".status.phase"),
        age,
        column("Version", ".spec.topology.version")
      ]
    },
    {
      name: "v1beta2",
      columns: [
        column("ClusterClass", ".spec.topology.classRef.name"),
        column("Available", isTrue("Available")),
        column("CP Desired", ".status.controlPlane.desiredReplicas", "integer"),
        wide("CP Current", ".status.controlPlane.replicas", "integer"),
        wide("CP Ready", ".status.controlPlane.readyReplicas", "integer"),
        column("CP Available", ".status.controlPlane.availableReplicas", "integer"),
        column("CP Up-to-date", ".status.controlPlane.upToDateReplicas", "integer"),
        column("W Desired", ".status.workers.desiredReplicas", "integer"),
        wide("W Current", ".status.workers.replicas", "integer"),
        wide("W Ready", ".status.workers.readyReplicas", "integer"),
        column("W Available", ".status.workers.availableReplicas", "integer"),
        column("W Up-to-date", ".status.workers.upToDateReplicas", "integer"),
        wide("Paused", isTrue("Paused")),
        column("Phase", ".status.phase"),
        age,
        column("Version", ".spec.topology.version")
      ]
    }
  ],
  spec: open("Desired state.", {
    paused: flag("Whether the controllers leave the cluster, and all that is in it, alone."),
    controlPlaneEndpoint: endpoint,
    controlPlaneRef: reference("The control plane."),
    infrastructureRef: reference("The infrastructure.")
  }),
  status: status({ phase: text("Pending, Provisioning, Provisioned or Deleting.") })
})

const machine = crd({
  group: CLUSTER_GROUP,
  kind: "Machine",
  plural: "machines",
  shortNames: ["ma"],
  description: "Machine is one node of a Cluster: its bootstrap config and its infrastructure.",
  labels: coreLabels,
  versions: [
    {
      name: "v1beta1",
      deprecated: true,
      columns: [
        clusterName,
        column("NodeName", ".status.nodeRef.name"),
        column("ProviderID", ".spec.providerID"),
        column("Phase", ".status.phase"),
        age,
        column("Version", ".spec.version")
      ]
    },
    {
      name: "v1beta2",
      columns: [
        clusterName,
        column("Node Name", ".status.nodeRef.name"),
        wide("Provider ID", ".spec.providerID"),
        column("Failure domain", ".status.failureDomain"),
        column("Ready", isTrue("Ready")),
        column("Available", isTrue("Available")),
        column("Up-to-date", isTrue("UpToDate")),
        wide("Internal-IP", '.status.addresses[?(@.type=="InternalIP")].address'),
        wide("External-IP", '.status.addresses[?(@.type=="ExternalIP")].address'),
        wide("OS-Image", ".status.nodeInfo.osImage"),
        wide("Paused", isTrue("Paused")),
        column("Phase", ".status.phase"),
        age,
        column("Version", ".spec.version")
      ]
    }
  ],
  spec: machineSpec("Desired state."),
  status: status({ phase: text("Pending, Provisioning, Provisioned, Running or Deleting.") })
})

const machineSet = crd({
  group: CLUSTER_GROUP,
  kind: "MachineSet",
  plural: "machinesets",
  shortNames: ["ms"],
  description: "MachineSet keeps a number of like Machines.",
  labels: coreLabels,
  scale: true,
  versions: [
    {
      name: "v1beta1",
      deprecated: true,
      columns: [
        clusterName,
        wide("Desired", ".spec.replicas", "integer"),
        column("Replicas", ".status.replicas", "integer"),
        column("Ready", ".status.readyReplicas", "integer"),
        column("Available", ".status.availableReplicas", "integer"),
        age,
        column("Version", ".spec.template.spec.version")
      ]
    },
    {
      name: "v1beta2",
      columns: [
        clusterName,
        column("Desired", ".spec.replicas", "integer"),
        column("Current", ".status.replicas", "integer"),
        column("Ready", ".status.readyReplicas", "integer"),
        column("Available", ".status.availableReplicas", "integer"),
        column("Up-to-date", ".status.upToDateReplicas", "integer"),
        wide("Paused", isTrue("Paused")),
        age,
        column("Version", ".spec.template.spec.version")
      ]
    }
  ],
  spec: open("Desired state.", {
    clusterName: text("Cluster that the Machines belong to."),
    replicas: count("How many Machines there should be."),
    selector: open("Labels of the Machines."),
    template
  }),
  status: status(counts)
})

const machineDeployment = crd({
  group: CLUSTER_GROUP,
  kind: "MachineDeployment",
  plural: "machinedeployments",
  shortNames: ["md"],
  description:
    "MachineDeployment keeps a number of like Machines, and replaces them little by little when the template changes.",
  labels: coreLabels,
  scale: true,
  versions: [
    {
      name: "v1beta1",
      deprecated: true,
      columns: [
        clusterName,
        wide("Desired", ".spec.replicas", "integer"),
        column("Replicas", ".status.replicas", "integer"),
        column("Ready", ".status.readyReplicas", "integer"),
        column("Updated", ".status.updatedReplicas", "integer"),
        column("Unavailable", ".status.unavailableReplicas", "integer"),
        column("Phase", ".status.phase"),
        age,
        column("Version", ".spec.template.spec.version")
      ]
    },
    {
      name: "v1beta2",
      columns: [
        clusterName,
        column("Available", isTrue("Available")),
        column("Desired", ".spec.replicas", "integer"),
        column("Current", ".status.replicas", "integer"),
        column("Ready", ".status.readyReplicas", "integer"),
        column("Available", ".status.availableReplicas", "integer"),
        column("Up-to-date", ".status.upToDateReplicas", "integer"),
        wide("Paused", isTrue("Paused")),
        column("Phase", ".status.phase"),
        age,
        column("Version", ".spec.template.spec.version")
      ]
    }
  ],
  spec: open("Desired state.", {
    clusterName: text("Cluster that the Machines belong to."),
    replicas: count("How many Machines there should be."),
    paused: flag("Whether rollouts wait; scaling does not."),
    selector: open("Labels of the Machines."),
    template
  }),
  status: status({ ...counts, phase: text("ScalingUp, ScalingDown or Running.") })
})

/** CAPI's own kinds. */
export const coreCrds: ReadonlyArray<JsonObject> = [cluster, machine, machineSet, machineDeployment]
