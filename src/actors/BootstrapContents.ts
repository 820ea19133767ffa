/**
 * Owns the contents that a bootstrap config refers to: files and custom user data, from Secrets and ConfigMaps. Every
 * failure names the field, the object, and what would help. Writes nothing.
 */
import * as Effect from "effect/Effect"
import type { ContentSource } from "../api/BootstrapParts.ts"
import { ConfigMaps, configMapBytes, Secrets, secretBytes } from "../api/Core.ts"
import type { Awaited, Failure } from "../domain/Bootstrap.ts"
import type { FileInput } from "../domain/bootstrap/CommonInput.ts"
import type { KubeClientShape } from "../kube/KubeClient.ts"
import type { KubeError } from "../kube/KubeError.ts"
import type { BootstrapConfig, BootstrapRole } from "./BootstrapRenderers.ts"
import { apiFailure, INVALID, inputFailure } from "./WorkloadAccess.ts"

const fetched = (
  kind: Awaited["kind"],
  name: string,
  key: string,
  namespace: string,
  field: string,
  read: Effect.Effect<Uint8Array | undefined, KubeError>
): Effect.Effect<Uint8Array, Failure> => {
  const awaited = { kind, name }
  return read.pipe(
    Effect.mapError((error) =>
      error.reason === "NotFound"
        ? inputFailure("ContentNotFound", `${field}: ${kind} ${namespace}/${name} is not there. Create it.`, awaited)
        : apiFailure(error)
    ),
    Effect.flatMap((bytes) =>
      bytes === undefined
        ? Effect.fail(
            inputFailure("ContentNotFound", `${field}: ${kind} ${namespace}/${name} has no key "${key}".`, awaited)
          )
        : Effect.succeed(bytes)
    )
  )
}

const contentFrom = (
  kube: KubeClientShape,
  namespace: string,
  field: string,
  { secretRef, configMapRef }: ContentSource
): Effect.Effect<Uint8Array, Failure> => {
  if (secretRef !== undefined && configMapRef === undefined) {
    const { name, key } = secretRef
    const read = Effect.map(kube.get(Secrets, { namespace, name }), (secret) => secretBytes(secret, key))
    return fetched("Secret", name, key, namespace, field, read)
  }
  if (configMapRef !== undefined && secretRef === undefined) {
    const { name, key } = configMapRef
    const read = Effect.map(kube.get(ConfigMaps, { namespace, name }), (map) => configMapBytes(map, key))
    return fetched("ConfigMap", name, key, namespace, field, read)
  }
  return Effect.fail(inputFailure(INVALID, `${field} needs exactly one of secretRef and configMapRef.`))
}

/** k0smotron's Go client drops an empty `content`, so a control plane's file may have neither. */
export const filesOf = (
  kube: KubeClientShape,
  config: BootstrapConfig,
  role: BootstrapRole
): Effect.Effect<ReadonlyArray<FileInput>, Failure> => {
  const namespace = config.metadata.namespace ?? ""
  return Effect.forEach(config.spec?.files ?? [], (file, index) => {
    const field = `spec.files[${index}]`
    const { path, content, permissions } = file
    const isEmpty = content === undefined && file.contentFrom === undefined
    if (content !== undefined && file.contentFrom !== undefined)
      return Effect.fail(inputFailure(INVALID, `${field} needs exactly one of content and contentFrom.`))
    if (isEmpty && role === "worker")
      return Effect.fail(inputFailure(INVALID, `${field} needs exactly one of content and contentFrom.`))
    const bytes: Effect.Effect<string | Uint8Array, Failure> =
      file.contentFrom === undefined
        ? Effect.succeed(content ?? "")
        : contentFrom(kube, namespace, `${field}.contentFrom`, file.contentFrom)
    return Effect.map(bytes, (value): FileInput => ({ path, content: value, permissions }))
  })
}

export const customUserDataOf = (
  kube: KubeClientShape,
  config: BootstrapConfig
): Effect.Effect<Uint8Array | undefined, Failure> => {
  const source = config.spec?.customUserDataRef
  return source === undefined
    ? Effect.succeed(undefined)
    : contentFrom(kube, config.metadata.namespace ?? "", "spec.customUserDataRef", source)
}
