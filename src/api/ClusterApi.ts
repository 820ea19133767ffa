/**
 * Owns the subset of Cluster API's own kinds that we read, in both of its API versions at once: Cluster, Machine,
 * MachineSet, MachineDeployment, MachinePool. Does not own how the two shapes are told apart (ClusterApiView.ts): no one else reads
 * these fields directly.
 */
import * as Schema from "effect/Schema"
import { nullable, stringMap } from "./Field.ts"
import type { Kind } from "./Kind.ts"
import { objectFields } from "./Meta.ts"
import { CLUSTER_GROUP } from "./Names.ts"

/** v1beta1 has `apiVersion` and `namespace`, v1beta2 has `apiGroup`. */
const ReferenceSchema = Schema.Struct({
  apiVersion: nullable(Schema.String),
  apiGroup: nullable(Schema.String),
  kind: nullable(Schema.String),
  name: nullable(Schema.String),
  namespace: nullable(Schema.String),
  uid: nullable(Schema.String)
})
export interface ForeignReference extends Schema.Schema.Type<typeof ReferenceSchema> {}

/** metav1.Condition in v1beta2; in v1beta1 CAPI's own, with a severity and often no reason. */
const ForeignConditionSchema = Schema.Struct({
  type: Schema.String,
  status: Schema.String,
  reason: nullable(Schema.String),
  message: nullable(Schema.String),
  lastTransitionTime: nullable(Schema.String)
})
const conditions = nullable(Schema.Array(ForeignConditionSchema))

const ForeignEndpointSchema = Schema.Struct({
  host: nullable(Schema.String),
  port: nullable(Schema.Number)
})

const NetworkRangesSchema = Schema.Struct({ cidrBlocks: nullable(Schema.Array(Schema.String)) })

export const ClusterSchema = Schema.Struct({
  ...objectFields,
  spec: nullable(
    Schema.Struct({
      paused: nullable(Schema.Boolean),
      controlPlaneEndpoint: nullable(ForeignEndpointSchema),
      controlPlaneRef: nullable(ReferenceSchema),
      infrastructureRef: nullable(ReferenceSchema),
      clusterNetwork: nullable(
        Schema.Struct({
          apiServerPort: nullable(Schema.Number),
          serviceDomain: nullable(Schema.String),
          pods: nullable(NetworkRangesSchema),
          services: nullable(NetworkRangesSchema)
        })
      )
    })
  ),
  status: nullable(
    Schema.Struct({
      phase: nullable(Schema.String),
      infrastructureReady: nullable(Schema.Boolean),
      controlPlaneReady: nullable(Schema.Boolean),
      initialization: nullable(
        Schema.Struct({
          infrastructureProvisioned: nullable(Schema.Boolean),
          controlPlaneInitialized: nullable(Schema.Boolean)
        })
      ),
      conditions,
      observedGeneration: nullable(Schema.Number)
    })
  )
})
export interface Cluster extends Schema.Schema.Type<typeof ClusterSchema> {}

const MachineSpecSchema = Schema.Struct({
  clusterName: nullable(Schema.String),
  version: nullable(Schema.String),
  providerID: nullable(Schema.String),
  failureDomain: nullable(Schema.String),
  bootstrap: nullable(
    Schema.Struct({
      configRef: nullable(ReferenceSchema),
      dataSecretName: nullable(Schema.String)
    })
  ),
  infrastructureRef: nullable(ReferenceSchema)
})
export interface MachineSpec extends Schema.Schema.Type<typeof MachineSpecSchema> {}

export const MachineSchema = Schema.Struct({
  ...objectFields,
  spec: nullable(MachineSpecSchema),
  status: nullable(
    Schema.Struct({
      phase: nullable(Schema.String),
      nodeRef: nullable(ReferenceSchema),
      addresses: nullable(Schema.Array(Schema.Struct({ type: Schema.String, address: Schema.String }))),
      bootstrapReady: nullable(Schema.Boolean),
      infrastructureReady: nullable(Schema.Boolean),
      initialization: nullable(
        Schema.Struct({
          bootstrapDataSecretCreated: nullable(Schema.Boolean),
          infrastructureProvisioned: nullable(Schema.Boolean)
        })
      ),
      conditions,
      observedGeneration: nullable(Schema.Number)
    })
  )
})
export interface Machine extends Schema.Schema.Type<typeof MachineSchema> {}

const LabelSelectorSchema = Schema.Struct({ matchLabels: nullable(stringMap) })

const MachineTemplateSchema = Schema.Struct({
  metadata: nullable(Schema.Struct({ labels: nullable(stringMap), annotations: nullable(stringMap) })),
  spec: nullable(MachineSpecSchema)
})

const machineGroupFields = {
  ...objectFields,
  spec: nullable(
    Schema.Struct({
      clusterName: nullable(Schema.String),
      replicas: nullable(Schema.Number),
      selector: nullable(LabelSelectorSchema),
      template: nullable(MachineTemplateSchema)
    })
  ),
  status: nullable(
    Schema.Struct({
      replicas: nullable(Schema.Number),
      readyReplicas: nullable(Schema.Number),
      availableReplicas: nullable(Schema.Number),
      conditions,
      observedGeneration: nullable(Schema.Number)
    })
  )
}

export const MachineSetSchema = Schema.Struct(machineGroupFields)
export interface MachineSet extends Schema.Schema.Type<typeof MachineSetSchema> {}

export const MachineDeploymentSchema = Schema.Struct(machineGroupFields)
export interface MachineDeployment extends Schema.Schema.Type<typeof MachineDeploymentSchema> {}

/** Of what it has beside a MachineSet's fields we read nothing. */
export const MachinePoolSchema = Schema.Struct(machineGroupFields)
export interface MachinePool extends Schema.Schema.Type<typeof MachinePoolSchema> {}

/** v1.10 has only v1beta1, v1.16 drops it: the client discovers. */
const capi = { group: CLUSTER_GROUP, versions: ["v1beta2", "v1beta1"], namespaced: true } as const

export const Clusters: Kind<Cluster> = { ...capi, kind: "Cluster", plural: "clusters", schema: ClusterSchema }
export const Machines: Kind<Machine> = { ...capi, kind: "Machine", plural: "machines", schema: MachineSchema }
export const MachineSets: Kind<MachineSet> = {
  ...capi,
  kind: "MachineSet",
  plural: "machinesets",
  schema: MachineSetSchema
}
export const MachineDeployments: Kind<MachineDeployment> = {
  ...capi,
  kind: "MachineDeployment",
  plural: "machinedeployments",
  schema: MachineDeploymentSchema
}
export const MachinePools: Kind<MachinePool> = {
  ...capi,
  kind: "MachinePool",
  plural: "machinepools",
  schema: MachinePoolSchema
}
