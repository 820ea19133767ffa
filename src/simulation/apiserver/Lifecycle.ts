/**
 * Owns what the store refuses to create at all: anything in a namespace that isn't there or is going away, and objects of
 * a definition that is going away. Does not own what an object must look like (ResourceType's strategies).
 */
import type { IncomingMeta } from "./Metadata.ts"
import type { Registry, ResourceType } from "./ResourceType.ts"
import { type ApiStatus, badRequest, forbidden, methodNotAllowed, notFound } from "./Status.ts"
import type { Storage } from "./Storage.ts"

/** The NamespaceLifecycle admission: nothing new where there is no namespace, or where it is going away. */
export const refuseCreation = (
  registry: Registry,
  storage: Storage,
  type: ResourceType,
  namespace: string,
  meta: IncomingMeta
): ApiStatus | undefined => {
  if (type.definedBy !== undefined && definitionIsGoing(registry, storage, type.definedBy)) {
    return methodNotAllowed("create not allowed while custom resource definition is terminating")
  }
  if (!type.namespaced) return undefined
  if (namespace === "") return badRequest("an empty namespace may not be set during creation")
  const namespaces = registry.byKind("", "Namespace")
  if (namespaces === undefined) return undefined
  const home = storage.get({ type: namespaces, namespace: "", name: namespace })
  if (home === undefined) return notFound(namespaces, namespace)
  if (home.metadata.deletionTimestamp === undefined) return undefined
  return forbidden(
    type,
    meta.name ?? "",
    `unable to create new content in namespace ${namespace} because it is being terminated`,
    [
      {
        reason: "NamespaceTerminating",
        message: `namespace ${namespace} is being terminated`,
        field: "metadata.namespace"
      }
    ]
  )
}

const definitionIsGoing = (registry: Registry, storage: Storage, name: string): boolean => {
  const definitions = registry.byKind("apiextensions.k8s.io", "CustomResourceDefinition")
  if (definitions === undefined) return false
  return storage.get({ type: definitions, namespace: "", name })?.metadata.deletionTimestamp !== undefined
}
