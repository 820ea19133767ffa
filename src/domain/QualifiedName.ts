/**
 * Owns what label keys and label values may be, with the API server's own words for what is wrong. Pure.
 * Does not own the names of objects (the API server judges those).
 */

const MAX_SUBDOMAIN_LENGTH = 253
const MAX_LABEL_LENGTH = 63

const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const qualifiedPart = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/

const SUBDOMAIN_RULE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
const QUALIFIED_RULE =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
const LABEL_VALUE_RULE =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

/** Each rule returns what is wrong, or undefined. */
export type NameRule = (name: string) => string | undefined

export const tooLong = (max: number): string => `must be no more than ${max} characters`

export const dnsSubdomain: NameRule = (name) =>
  name.length > MAX_SUBDOMAIN_LENGTH ? tooLong(MAX_SUBDOMAIN_LENGTH) : subdomain.test(name) ? undefined : SUBDOMAIN_RULE

/** Label keys, annotation keys, finalizers: `[prefix/]name`. */
export const qualifiedName: NameRule = (name) => {
  const slash = name.indexOf("/")
  const prefix = slash < 0 ? undefined : name.slice(0, slash)
  const part = slash < 0 ? name : name.slice(slash + 1)
  if (part.includes("/")) {
    return `a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`
  }
  if (prefix === "") return "prefix part must be non-empty"
  const prefixProblem = prefix === undefined ? undefined : dnsSubdomain(prefix)
  if (prefixProblem !== undefined) return `prefix part ${prefixProblem}`
  if (part === "") return "name part must be non-empty"
  if (part.length > MAX_LABEL_LENGTH) return `name part ${tooLong(MAX_LABEL_LENGTH)}`
  return qualifiedPart.test(part) ? undefined : QUALIFIED_RULE
}

export const labelValue: NameRule = (value) =>
  value.length > MAX_LABEL_LENGTH
    ? tooLong(MAX_LABEL_LENGTH)
    : value === "" || qualifiedPart.test(value)
      ? undefined
      : LABEL_VALUE_RULE
