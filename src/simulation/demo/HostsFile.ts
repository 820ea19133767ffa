/**
 * Owns the list of a user's own hosts, as `--hosts FILE` has it: its shape, its defaults, and what is wrong with it in
 * words that name the entry. Does not own reading files, keys, nor connecting to any host (RealHosts.ts).
 */
import { isIP } from "node:net"
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Yaml from "yaml"
import { MAX_JUMP_HOSTS } from "../../api/RemoteMachine.ts"

/** Hosts of one file. */
const MAX_HOSTS = 10_000

const text = Schema.String.check(Schema.isNonEmpty())
const login = {
  address: Schema.String.check(Schema.isPattern(/^[^\s/@]+$/)),
  port: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65_535 }))),
  user: Schema.optionalKey(text)
}
const secrets = {
  passphraseFile: Schema.optionalKey(text),
  passphraseEnv: Schema.optionalKey(Schema.String.check(Schema.isPattern(/^[A-Za-z_][A-Za-z0-9_]*$/))),
  knownHostsFile: Schema.optionalKey(text)
}
const Jump = Schema.Struct({
  ...login,
  identityFile: Schema.optionalKey(text),
  ...secrets,
  hostKey: Schema.optionalKey(text)
})
const Entry = Schema.Struct({
  ...login,
  useSudo: Schema.optionalKey(Schema.Boolean),
  identityFile: text,
  ...secrets,
  jumpHosts: Schema.optionalKey(Schema.Array(Jump).check(Schema.isMaxLength(MAX_JUMP_HOSTS)))
})
const FIELDS = Object.keys(Entry.fields)
const JUMP_FIELDS = Object.keys(Jump.fields)
const EXAMPLE = "- {address: 192.0.2.10, port: 22, user: root, useSudo: false, identityFile: ~/.ssh/id_ed25519}"

/** Where a private key is, and what belongs to it. As it stands in the file: paths are the reader's to resolve. */
export interface Identity {
  readonly identityFile: string
  /** One of the two at most: a passphrase itself is in no list. */
  readonly passphraseFile?: string
  readonly passphraseEnv?: string
  readonly knownHostsFile?: string
}

interface Login {
  /** IPv4, IPv6 or DNS name. */
  readonly address: string
  readonly port: number
  readonly user: string
}

export interface ListedJumpHost extends Login {
  /** Absent: the host's own. */
  readonly identity?: Identity
  /** As the API has it. */
  readonly hostKey?: string
}

export interface ListedHost extends Login {
  readonly useSudo: boolean
  readonly identity: Identity
  /** On the way to it, the first one connected to from here. */
  readonly jumpHosts: ReadonlyArray<ListedJumpHost>
}

export class HostsFileError extends Data.TaggedError("HostsFileError")<{ readonly message: string }> {}

export const hostKeyOf = ({ address, port }: { readonly address: string; readonly port: number }): string =>
  `${isIP(address) === 6 ? `[${address}]` : address}:${port}`

const refused = (message: string) => Result.fail(new HostsFileError({ message }))

const onlyKnown = (
  value: unknown,
  fields: ReadonlyArray<string>,
  where: string
): Result.Result<void, HostsFileError> => {
  const unknown = typeof value === "object" && value !== null ? Object.keys(value) : []
  const first = unknown.find((key) => !fields.includes(key))
  return first === undefined ? Result.void : refused(`${where} has a field ${first}; there are ${fields.join(", ")}`)
}

type Keyed<E> = E & Omit<Identity, "identityFile"> & { readonly identityFile?: string }

/** A login, and its key apart. */
const identified = <E>({ identityFile, passphraseFile, passphraseEnv, knownHostsFile, ...rest }: Keyed<E>) => ({
  rest,
  identityFile,
  more: {
    ...(passphraseFile === undefined ? {} : { passphraseFile }),
    ...(passphraseEnv === undefined ? {} : { passphraseEnv }),
    ...(knownHostsFile === undefined ? {} : { knownHostsFile })
  }
})

const jumpHostOf = (entry: typeof Jump.Type, where: string): Result.Result<ListedJumpHost, HostsFileError> => {
  const { identityFile, more, rest } = identified(entry)
  const login = { port: 22, user: "root", ...rest }
  const [orphan] = Object.keys(more)
  if (identityFile !== undefined) return Result.succeed({ ...login, identity: { identityFile, ...more } })
  return orphan === undefined
    ? Result.succeed(login)
    : refused(`${where} has ${orphan} without an identityFile: it belongs to a key`)
}

const entryOf = (value: unknown, where: string): Result.Result<ListedHost, HostsFileError> =>
  Result.gen(function* () {
    yield* onlyKnown(value, FIELDS, where)
    const listed = typeof value === "object" && value !== null && "jumpHosts" in value ? value.jumpHosts : undefined
    const jumps: ReadonlyArray<unknown> = Array.isArray(listed) ? listed : []
    const named = (index: number) => `${where}, jump host ${index + 1}`
    for (const [index, jump] of jumps.entries()) yield* onlyKnown(jump, JUMP_FIELDS, named(index))
    const entry = yield* Schema.decodeUnknownResult(Entry)(value).pipe(
      Result.mapError((error) => new HostsFileError({ message: `${where} is no host: ${error.message}` }))
    )
    const logins = [
      [where, entry] as const,
      ...(entry.jumpHosts ?? []).map((one, index) => [named(index), one] as const)
    ]
    for (const [at, { passphraseEnv, passphraseFile }] of logins)
      if (passphraseEnv !== undefined && passphraseFile !== undefined)
        return yield* refused(`${at} has both passphraseFile and passphraseEnv: give one of them`)
    const { jumpHosts = [], ...own } = entry
    const { more, rest } = identified(own)
    const chain = yield* Result.all(jumpHosts.map((jump, index) => jumpHostOf(jump, named(index))))
    const identity = { identityFile: entry.identityFile, ...more }
    return { port: 22, user: "root", useSudo: false, ...rest, identity, jumpHosts: chain }
  })

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
