/**
 * Owns what names, label keys and label values may be, with the API server's own words for what is wrong.
 * Does not own which rule a kind uses (ResourceType.ts).
 */
import { type NameRule, tooLong } from "../../domain/QualifiedName.ts"

export { dnsSubdomain, labelValue, type NameRule, qualifiedName } from "../../domain/QualifiedName.ts"

const MAX_SUBDOMAIN_LENGTH = 253
const MAX_LABEL_LENGTH = 63

const label = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/
const dataKey = /^[-._a-zA-Z0-9]+$/

const LABEL_RULE =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
const DATA_KEY_RULE =
  "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"

export const dnsLabel: NameRule = (name) =>
  name.includes(".")
    ? "must not contain dots"
    : name.length > MAX_LABEL_LENGTH
      ? tooLong(MAX_LABEL_LENGTH)
      : label.test(name)
        ? undefined
        : LABEL_RULE

/** Keys of Secret and ConfigMap data. */
export const dataKeyName: NameRule = (key) =>
  key.length > MAX_SUBDOMAIN_LENGTH
    ? tooLong(MAX_SUBDOMAIN_LENGTH)
    : key === "." || key === ".." || key.startsWith("..")
      ? `must not be '${key}'`
      : dataKey.test(key)
        ? undefined
        : DATA_KEY_RULE
