/**
 * Owns which format bootstrap data is in, and the one way in which a host run reads it: whatever provider made it, it
 * becomes files and steps, or one error that says what can't be done.
 */
import * as Result from "effect/Result"
import { type BootstrapDataError, dataError } from "./BootstrapDataError.ts"
import { parseCloudConfig } from "./CloudConfigParse.ts"
import { gunzip, isGzip } from "./Gzip.ts"
import type { InstanceData } from "./HostFacts.ts"
import { parseIgnition } from "./IgnitionParse.ts"
import type { Payload } from "./Payload.ts"

export type Format = "cloud-config" | "ignition"

/** Bytes that are looked at to tell JSON from the rest. */
const SNIFFED_BYTES = 4096

const unzipped = (data: Uint8Array): Uint8Array => {
  if (!isGzip(data)) return data
  const plain = gunzip(data)
  return Result.isSuccess(plain) ? plain.success : data
}

/** Providers that never heard of Ignition leave the Secret's `format` away. */
const sniffed = (data: Uint8Array): Format =>
  /^\s*\{[\s\S]*"ignition"\s*:/.test(
    Buffer.from(data.subarray(0, SNIFFED_BYTES))
      .toString("utf8")
      .replace(/^\ufeff/, "")
  )
    ? "ignition"
    : "cloud-config"

/** `format`: the key beside the data in its Secret. `instance`: what templates may ask for. */
export const parseBootstrapData = (
  data: Uint8Array,
  format: string | undefined,
  instance?: InstanceData
): Result.Result<Payload, BootstrapDataError> => {
  const plain = unzipped(data)
  const known = format === undefined || format.trim() === "" ? sniffed(plain) : format.trim()
  switch (known) {
    case "cloud-config":
      return parseCloudConfig(data, instance)
    case "ignition":
      return parseIgnition(plain)
    default:
      return Result.fail(
        dataError(
          "UnknownFormat",
          `format ${JSON.stringify(known.slice(0, 32))} can't be run: cloud-config and ignition can`
        )
      )
  }
}
