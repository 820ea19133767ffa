/**
 * Owns the templates and the owners of Machines that several scenarios begin with. Does not own scenarios.
 */
import * as Effect from "effect/Effect"
import type { JsonObject } from "../../../src/kube/KubeClient.ts"
import { create, MachineDeployments, RemoteMachineTemplates, WorkerConfigTemplates } from "./World.ts"

/** A pair of one name, with labels and annotations of their own. */
export const createTemplates = Effect.fnUntraced(function* (namespace: string, name: string) {
  const metadata = { labels: { "from-template": name }, annotations: { "note-of-template": name } }
  yield* create(RemoteMachineTemplates, namespace, name, { spec: { template: { metadata, spec: { pool: name } } } })
  yield* create(WorkerConfigTemplates, namespace, name, {
    spec: { template: { metadata, spec: { version: "v1.27.2+k0s.0" } } }
  })
})

export const machineTemplate = (cluster: string, templates: string, more: JsonObject = {}): JsonObject => ({
  metadata: { labels: { pool: "workers" }, annotations: { "note-of-machine": "yes" } },
  spec: {
    clusterName: cluster,
    bootstrap: {
      configRef: { apiGroup: "bootstrap.cluster.x-k8s.io", kind: "K0sWorkerConfigTemplate", name: templates }
    },
    infrastructureRef: { apiGroup: "infrastructure.cluster.x-k8s.io", kind: "RemoteMachineTemplate", name: templates },
    ...more
  }
})

export interface DeploymentInput {
  readonly replicas: number
  readonly templates?: string
  readonly rollout?: JsonObject
}

export const createDeployment = (namespace: string, name: string, cluster: string, input: DeploymentInput) =>
  create(MachineDeployments, namespace, name, {
    spec: {
      clusterName: cluster,
      replicas: input.replicas,
      selector: { matchLabels: { pool: "workers" } },
      template: machineTemplate(cluster, input.templates ?? "blue"),
      ...(input.rollout === undefined ? {} : { rollout: input.rollout })
    }
  })
