/**
 * Owns the last step from files and steps to the bytes of the Secret, for every kind of bootstrap config: which format,
 * the user's own user data or Ignition beside ours, and that it fits. Same inputs, same bytes. What the files and steps
 * are is BootstrapScript.ts'; how each format is written is CloudConfig.ts' and Ignition.ts'.
 */
import * as Result from "effect/Result"
import { InvalidBootstrap, invalid } from "./bootstrap/CommonInput.ts"
import { customParts } from "./bootstrap/CustomUserData.ts"
import { type IgnitionOptions, renderIgnition } from "./bootstrap/Ignition.ts"
import type { Payload } from "./bootstrap/Payload.ts"
import { renderCloudConfig } from "./CloudConfig.ts"

export interface Rendered {
  readonly value: Uint8Array
  readonly format: "cloud-config" | "ignition"
}

export interface DataOptions {
  /** As it was given; gzip is fine. */
  readonly customUserData?: Uint8Array | undefined
  /** Absent: cloud-config. */
  readonly ignition?: IgnitionOptions | undefined
}

/**
 * Bytes. Kubernetes takes a Secret whose values have 1 MiB together, and there is the format beside the data. cloud-init
 * and Ignition have no limit of their own; clouds have (16 KiB of user data on EC2), and their providers split or zip.
 */
export const MAX_DATA_BYTES = 1024 * 1024 - 64
/** Bytes. When the whole doesn't fit as it is, contents of at least so many are compressed. */
const COMPRESS_FROM_BYTES = 1024

export const TOO_LARGE = "BootstrapDataTooLarge"

const KIB = 1024
const tooLarge = ({ files }: Payload, bytes: number): InvalidBootstrap => {
  const [largest] = [...files].sort((a, b) => b.content.length - a.content.length)
  const where =
    largest === undefined ? "" : `, of which ${largest.path} is ${Math.ceil(largest.content.length / KIB)} KiB`
  return new InvalidBootstrap({
    field: "spec.files",
    reason: TOO_LARGE,
    message: `The bootstrap data would have ${Math.ceil(bytes / KIB)} KiB, compressed where that helps${where}. A Secret holds ${Math.ceil(MAX_DATA_BYTES / KIB)} KiB: fetch large files with a command in spec.preStartCommands.`
  })
}

/** As readable as it can be: compressed only where it would not fit. */
const fitted = (
  payload: Payload,
  render: (compressFrom?: number) => Uint8Array
): Result.Result<Uint8Array, InvalidBootstrap> => {
  const plain = render()
  if (plain.length <= MAX_DATA_BYTES) return Result.succeed(plain)
  const small = render(COMPRESS_FROM_BYTES)
  return small.length <= MAX_DATA_BYTES ? Result.succeed(small) : Result.fail(tooLarge(payload, small.length))
}

export const bootstrapData = (
  payload: Payload,
  { customUserData, ignition }: DataOptions
): Result.Result<Rendered, InvalidBootstrap> =>
  Result.gen(function* () {
    if (ignition !== undefined) {
      if (customUserData !== undefined)
        return yield* invalid(
          "spec.customUserDataRef",
          "is for cloud-init: with spec.ignition use spec.ignition.additionalConfig"
        )
      const render = yield* Result.mapError(
        renderIgnition(payload, ignition),
        ({ field, why }) =>
          new InvalidBootstrap({ field: `spec.ignition.${field}`, message: `spec.ignition.${field} ${why}` })
      )
      return { value: yield* fitted(payload, render), format: "ignition" }
    }
    const custom = yield* Result.mapError(
      customParts(customUserData),
      (why) =>
        new InvalidBootstrap({ field: "spec.customUserDataRef", message: `spec.customUserDataRef: the data ${why}` })
    )
    const value = yield* fitted(payload, (compressFrom) => renderCloudConfig(payload, custom, compressFrom))
    return { value, format: "cloud-config" }
  })
