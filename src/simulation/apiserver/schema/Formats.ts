/**
 * Owns the `format`s of openAPIV3Schema that the API server checks. Unknown ones are ignored, as upstream.
 */
import type { Json } from "../Json.ts"

const MAX_INT32 = 2 ** 31 - 1
const MIN_INT32 = -(2 ** 31)

const dateTime = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/
const date = /^\d{4}-\d{2}-\d{2}$/
const duration = /^([+-]?\d+(\.\d+)?(ns|us|µs|ms|s|m|h|d|w))+$/
const uuid = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
const ipv4 = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/
const email = /^[^\s@]+@[^\s@]+$/
const hostname = /^(?=.{1,253}$)[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*\.?$/

const strings: Readonly<Record<string, (value: string) => boolean>> = {
  "date-time": (value) => dateTime.test(value) && !Number.isNaN(Date.parse(value)),
  date: (value) => date.test(value),
  duration: (value) => duration.test(value),
  uuid: (value) => uuid.test(value),
  byte: (value) => base64.test(value),
  ipv4: (value) => ipv4.test(value),
  uri: (value) => URL.canParse(value),
  email: (value) => email.test(value),
  hostname: (value) => hostname.test(value)
}

const numbers: Readonly<Record<string, (value: number) => boolean>> = {
  int32: (value) => Number.isInteger(value) && value >= MIN_INT32 && value <= MAX_INT32,
  int64: (value) => Number.isInteger(value)
}

/** The format's name when `value` does not have it, else undefined. */
export const formatProblem = (format: string, value: Json): string | undefined => {
  const fits =
    typeof value === "string"
      ? strings[format]?.(value)
      : typeof value === "number"
        ? numbers[format]?.(value)
        : undefined
  return fits === false ? format : undefined
}

export const isBase64 = (value: string): boolean => base64.test(value.replaceAll(/[\r\n]/g, ""))
