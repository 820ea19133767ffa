/**
 * Owns the subset of k0s' own kinds that we read in workload clusters: ControlNode, which every controller's autopilot
 * makes for itself, named by AUTOPILOT_HOSTNAME. Does not own, write or install them.
 */
import * as Schema from "effect/Schema"
import type { Kind } from "./Kind.ts"
import { objectFields } from "./Meta.ts"

export const ControlNodeSchema = Schema.Struct({ ...objectFields })
export interface ControlNode extends Schema.Schema.Type<typeof ControlNodeSchema> {}

export const ControlNodes: Kind<ControlNode> = {
  group: "autopilot.k0sproject.io",
  versions: ["v1beta2"],
  kind: "ControlNode",
  plural: "controlnodes",
  namespaced: false,
  schema: ControlNodeSchema
}
