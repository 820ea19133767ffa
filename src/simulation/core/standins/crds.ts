/**
 * Owns CRDs of the kinds that stand-ins fill: k0smotron's control planes, and the least of AWS. Labelled as stand-ins,
 * like every object of theirs. Where the real providers are installed these must not be. Does not own what fills them.
 */
import {
  CONTRACT_V1BETA1_LABEL,
  CONTRACT_V1BETA2_LABEL,
  CONTROL_PLANE_GROUP,
  INFRASTRUCTURE_GROUP
} from "../../../api/Names.ts"
import type { JsonObject } from "../../../kube/KubeClient.ts"
import {
  age,
  type Column,
  column,
  count,
  crd,
  flag,
  isTrue,
  ofCluster,
  open,
  reference,
  status,
  text
} from "../CrdShape.ts"

const standIn = { "machinist.dev/stand-in": "true" }

const initialization = open("What has been reached once and for all.")

const controlPlane = (
  kind: string,
  plural: string,
  shortName: string,
  description: string,
  spec: JsonObject
): JsonObject =>
  crd({
    group: CONTROL_PLANE_GROUP,
    kind,
    plural,
    shortNames: [shortName],
    description,
    labels: { ...standIn, [CONTRACT_V1BETA1_LABEL]: "v1beta1", [CONTRACT_V1BETA2_LABEL]: "v1beta1" },
    versions: [
      {
        name: "v1beta1",
        columns: [
          ofCluster,
          column("Ready", ".status.ready", "boolean"),
          column("Initialized", ".status.initialized", "boolean"),
          column("Replicas", ".status.replicas", "integer"),
          column("Version", ".status.version"),
          column("Stand-in", isTrue("StandIn")),
          age
        ]
      }
    ],
    spec: open("Desired state.", {
      version: text("Version of k0s."),
      replicas: count("How many controllers."),
      ...spec
    }),
    status: status({
      ready: flag("Whether the API server answers."),
      initialized: flag("Whether it has answered once."),
      initialization,
      version: text("Version of k0s."),
      replicas: count("Controllers there are.")
    })
  })

const AWS_VERSIONS = ["v1beta1", "v1beta2"] as const

const aws = (
  kind: string,
  plural: string,
  description: string,
  columns: ReadonlyArray<Column>,
  isTemplate: boolean
): JsonObject =>
  crd({
    group: INFRASTRUCTURE_GROUP,
    kind,
    plural,
    description,
    // As the real provider has it: contract v1beta1 only, so `status.ready` is what counts.
    labels: { ...standIn, [CONTRACT_V1BETA1_LABEL]: AWS_VERSIONS.join("_") },
    versions: AWS_VERSIONS.map((name) => ({ name, columns: [...columns, age] })),
    spec: isTemplate
      ? open("Desired state.", { template: open("What an AWSMachine made from this template looks like.") })
      : // The page's AWSMachine has a spec with nothing but a comment in it, which is null.
        {
          ...open("Desired state.", { providerID: text("Identity of the machine; set by the stand-in.") }),
          nullable: true
        },
    ...(isTemplate
      ? {}
      : { status: status({ ready: flag("Whether the instance runs."), instanceState: text("As EC2 has it.") }) })
  })

/** Kinds that the stand-ins fill. */
export const standInCrds: ReadonlyArray<JsonObject> = [
  controlPlane(
    "K0smotronControlPlane",
    "k0smotroncontrolplanes",
    "kcp",
    "K0smotronControlPlane is a k0s control plane that runs in the management cluster. Here a stand-in fills it.",
    {
      persistence: open("Where its data is."),
      service: open("How it is reached.")
    }
  ),
  controlPlane(
    "K0sControlPlane",
    "k0scontrolplanes",
    "k0scp",
    "K0sControlPlane is a k0s control plane that runs on Machines. Here a stand-in fills it.",
    {
      updateStrategy: {
        type: "string",
        enum: ["InPlace", "Recreate"],
        default: "InPlace",
        description: "Recreate: a change of version or template replaces the Machines, one at a time."
      },
      k0sConfigSpec: open("Of the K0sControllerConfigs."),
      machineTemplate: open("What the Machines look like.", {
        infrastructureRef: reference("The infrastructure template.")
      })
    }
  ),
  aws(
    "AWSCluster",
    "awsclusters",
    "AWSCluster is the infrastructure of a Cluster on AWS. Here a stand-in fills it.",
    [ofCluster, column("Ready", ".status.ready", "boolean")],
    false
  ),
  aws(
    "AWSMachine",
    "awsmachines",
    "AWSMachine is an EC2 instance. Here a stand-in runs its user data on a host in memory.",
    [
      ofCluster,
      column("State", ".status.instanceState"),
      column("Ready", ".status.ready", "boolean"),
      column("InstanceID", ".spec.providerID")
    ],
    false
  ),
  aws(
    "AWSMachineTemplate",
    "awsmachinetemplates",
    "AWSMachineTemplate is what a MachineDeployment makes AWSMachines from.",
    [],
    true
  )
]
