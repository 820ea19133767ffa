/**
 * Owns the list of a user's own hosts, as `--hosts FILE` has it: its shape, its defaults, and what is wrong with it in
 * words that name the entry. Does not own reading files, keys, nor connecting to any host (RealHosts.ts).
 */
import { isIP } from "node:net"
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Yaml from "yaml"

/** Hosts of one file. */
const MAX_HOSTS = 10_000

const Entry = Schema.Struct({
  address: Schema.String.check(Schema.isPattern(/^[^\s/@]+$/)),
  port: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65_535 }))),
  user: Schema.optionalKey(Schema.String.check(Schema.isNonEmpty())),
  useSudo: Schema.optionalKey(Schema.Boolean),
  identityFile: Schema.String.check(Schema.isNonEmpty())
})
const FIELDS: ReadonlySet<string> = new Set(["address", "port", "user", "useSudo", "identityFile"])
const EXAMPLE = "- {address: 192.0.2.10, port: 22, user: root, useSudo: false, identityFile: ~/.ssh/id_ed25519}"

export interface ListedHost {
  /** IPv4, IPv6 or DNS name. */
  readonly address: string
  readonly port: number
  readonly user: string
  readonly useSudo: boolean
  /** As it stands in the file: `~/` and relative paths are the reader's to resolve. */
  readonly identityFile: string
}

export class HostsFileError extends Data.TaggedError("HostsFileError")<{ readonly message: string }> {}

export const hostKeyOf = ({ address, port }: { readonly address: string; readonly port: number }): string =>
  `${isIP(address) === 6 ? `[${address}]` : address}:${port}`

const entryOf = (value: unknown, where: string): Result.Result<ListedHost, HostsFileError> => {
  if (typeof value === "object" && value !== null) {
    const unknown = Object.keys(value).find((key) => !FIELDS.has(key))
    if (unknown !== undefined)
      return Result.fail(
        new HostsFileError({ message: `${where} has a field ${unknown}; there are ${[...FIELDS].join(", ")}` })
      )
  }
  return Schema.decodeUnknownResult(Entry)(value).pipe(
    Result.map((entry) => ({ port: 22, user: "root", useSudo: false, ...entry })),
    Result.mapError((error) => new HostsFileError({ message: `${where} is no host: ${error.message}` }))
  )
}

const documentOf = (text: string, file: string): Result.Result<unknown, HostsFileError> => {
  const document = Yaml.parseDocument(text)
  const [error] = document.errors
  return error === undefined
    ? Result.succeed(document.toJS())
    : Result.fail(new HostsFileError({ message: `${file}: ${error.message}` }))
}

/** At least one host, and none twice. */
export const parseHosts = (text: string, file: string): Result.Result<ReadonlyArray<ListedHost>, HostsFileError> =>
  Result.gen(function* () {
    const value = yield* documentOf(text, file)
    if (!Array.isArray(value) || value.length === 0)
      return yield* Result.fail(new HostsFileError({ message: `${file} is no list of hosts, such as\n${EXAMPLE}` }))
    if (value.length > MAX_HOSTS)
      return yield* Result.fail(new HostsFileError({ message: `${file} has more than ${MAX_HOSTS} hosts` }))
    const seen = new Map<string, number>()
    const hosts: Array<ListedHost> = []
    for (const [index, one] of value.entries()) {
      const host = yield* entryOf(one, `${file}, host ${index + 1}`)
      const before = seen.get(hostKeyOf(host))
      if (before !== undefined)
        return yield* Result.fail(
          new HostsFileError({ message: `${file}: hosts ${before} and ${index + 1} are both ${hostKeyOf(host)}` })
        )
      seen.set(hostKeyOf(host), index + 1)
      hosts.push(host)
    }
    return hosts
  })
