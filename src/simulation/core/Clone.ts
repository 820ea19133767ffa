/**
 * Owns making an object from a template as core does (controllers/external): name, labels, annotations, owner, kind. And
 * that templates in use are owned by their Cluster. Does not own who asks.
 */
import * as Effect from "effect/Effect"
import * as Names from "../../api/Names.ts"
import type { JsonObject } from "../../kube/KubeClient.ts"
import { KubeError } from "../../kube/KubeError.ts"
import { jsonAt, objectAt } from "../apiserver/Json.ts"
import type { Foreign, Reference } from "./Foreign.ts"
import { isDeleting, type OwnerJson, ownerJson, type Raw, withOwner } from "./Raw.ts"
import type { Tracked } from "./Tracked.ts"

const TEMPLATE = "Template"

export interface CloneInput {
  readonly template: Reference
  readonly name: string
  readonly cluster: string
  /** Of the Machine: laid over the template's own. */
  readonly labels: JsonObject
  readonly annotations: JsonObject
  /** Not the controller: the Machine will be. */
  readonly owner: OwnerJson
}

export interface Cloned {
  readonly object: Raw
  readonly tracked: Tracked
}

const notFound = (template: Reference): KubeError =>
  new KubeError({
    reason: "NotFound",
    verb: "get",
    kind: template.kind,
    namespace: template.namespace,
    name: template.name,
    message: `${template.kind} ${template.namespace}/${template.name} to clone from is not there`
  })

export const clone = Effect.fnUntraced(function* (
  foreign: Foreign,
  input: CloneInput
): Effect.fn.Return<Cloned, KubeError> {
  const { owner, template } = input
  const { object: source } = yield* foreign.get(template)
  if (source === undefined) return yield* notFound(template)
  const kind = template.kind.endsWith(TEMPLATE) ? template.kind.slice(0, -TEMPLATE.length) : template.kind
  const target = { ...template, kind, name: input.name }
  const tracked = yield* foreign.of(target)
  const spec = jsonAt(source.spec, ["template", "spec"])
  const metadata = objectAt(source.spec, "template", "metadata")
  const object = yield* tracked.create({
    metadata: {
      name: input.name,
      namespace: template.namespace,
      labels: { ...objectAt(metadata, "labels"), ...input.labels, [Names.CLUSTER_NAME_LABEL]: input.cluster },
      annotations: {
        ...objectAt(metadata, "annotations"),
        ...input.annotations,
        [Names.CLONED_FROM_NAME_ANNOTATION]: template.name,
        [Names.CLONED_FROM_GROUP_KIND_ANNOTATION]: `${template.kind}.${template.group}`
      },
      ownerReferences: [owner]
    },
    ...(spec === undefined || spec === null ? {} : { spec })
  })
  return { object, tracked }
})

/** Not the controller: several sets of one Cluster share a template. Undefined references and plain objects are let be. */
export const ownTemplate = Effect.fnUntraced(function* (
  foreign: Foreign,
  cluster: Raw,
  reference: Reference | undefined
): Effect.fn.Return<boolean, KubeError> {
  if (reference === undefined || !reference.kind.endsWith(TEMPLATE)) return true
  const { object, tracked } = yield* foreign.get(reference)
  if (object === undefined) return false
  if (isDeleting(object)) return true
  yield* tracked.patch(object, { metadata: { ownerReferences: withOwner(object, ownerJson(cluster, "owner")) } })
  return true
})
