/**
 * Owns OpenSSH's known_hosts format (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): which keys a file gives for an address,
 * which it revokes, and what in it can't be read. Pure. Does not own what is made of a host's key (HostKeys.ts).
 */
import { createHash, createHmac } from "node:crypto"
import * as Result from "effect/Result"
import { fingerprint } from "./Fingerprint.ts"

/** Where a host is looked up; `[address]:port` in the file unless the port is 22. */
export interface Place {
  /** IPv4, IPv6 (without brackets) or DNS name. */
  readonly address: string
  readonly port: number
}

export interface KnownKey {
  /** `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, … */
  readonly type: string
  readonly fingerprint: string
}

/** What a file says about one host. */
export interface KnownHost {
  readonly keys: ReadonlyArray<KnownKey>
  /** Fingerprints of keys that must never be accepted there. */
  readonly revoked: ReadonlySet<string>
  /** A certificate authority is named for it: host certificates can't be checked here. */
  readonly certified: boolean
}

/** A line that OpenSSH would pass over in silence; a file that was given on purpose should be right. */
export interface BadLine {
  /** From 1. */
  readonly line: number
  readonly why: string
}

interface Entry {
  readonly marker: "" | "@revoked" | "@cert-authority"
  readonly names: string
  readonly key: KnownKey
}

const SSH_PORT = 22
/** `|1|salt|hash`: HMAC-SHA1 of the name, both in base64. */
const HASHED = /^\|1\|([A-Za-z0-9+/=]+)\|([A-Za-z0-9+/=]+)$/

/** `[address]:port` as known_hosts has it, in lower case; the bare address for port 22. */
export const knownName = ({ address, port }: Place): string =>
  port === SSH_PORT ? address.toLowerCase() : `[${address.toLowerCase()}]:${port}`

/** The key type that an SSH public key blob begins with, or undefined: it is none. */
export const blobType = (blob: Uint8Array): string | undefined => {
  if (blob.length < 4) return undefined
  const length = new DataView(blob.buffer, blob.byteOffset, blob.byteLength).getUint32(0)
  if (length === 0 || length > 64 || blob.length <= 4 + length) return undefined
  return Buffer.from(blob.subarray(4, 4 + length)).toString("latin1")
}

/** Base64 of a public key whose own first field is `type`. */
export const readPublicKey = (type: string, base64: string): KnownKey | undefined => {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined
  const blob = Buffer.from(base64, "base64")
  return blobType(blob) === type ? { type, fingerprint: fingerprint(blob) } : undefined
}

const readLine = (text: string): Entry | string => {
  const fields = text.split(/\s+/)
  const first = fields[0] ?? ""
  const marker = first.startsWith("@") ? first : ""
  if (marker !== "" && marker !== "@revoked" && marker !== "@cert-authority")
    return `the marker ${marker} is unknown; @revoked and @cert-authority are known`
  const [names = "", type = "", base64 = ""] = marker === "" ? fields : fields.slice(1)
  if (base64 === "") return "it is not `host-names key-type base64-key`, as ssh-keyscan prints it"
  if (names.startsWith("|") && !HASHED.test(names)) return "its hashed name is not of the form |1|salt|hash"
  const key = readPublicKey(type, base64)
  return key === undefined ? `its key is not a public key of type ${type}` : { marker, names, key }
}

const entries = (text: string): Result.Result<ReadonlyArray<Entry>, BadLine> => {
  const read: Array<Entry> = []
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim()
    if (line === "" || line.startsWith("#")) continue
    const entry = readLine(line)
    if (typeof entry === "string") return Result.fail({ line: index + 1, why: entry })
    read.push(entry)
  }
  return Result.succeed(read)
}

/** `*` and `?` as in OpenSSH's match_pattern; everything else stands for itself. */
const globMatches = (pattern: string, name: string): boolean => {
  let [p, n, star, mark] = [0, 0, -1, 0]
  while (n < name.length) {
    if (p < pattern.length && (pattern[p] === "?" || pattern[p] === name[n]) && pattern[p] !== "*") {
      p += 1
      n += 1
    } else if (pattern[p] === "*") {
      star = p
      mark = n
      p += 1
    } else if (star >= 0) {
      p = star + 1
      mark += 1
      n = mark
    } else return false
  }
  while (pattern[p] === "*") p += 1
  return p === pattern.length
}

const namesMatch = (names: string, name: string): boolean => {
  const hashed = HASHED.exec(names)
  if (hashed !== null) {
    const salt = Buffer.from(hashed[1] ?? "", "base64")
    return createHmac("sha1", salt).update(name).digest("base64") === hashed[2]
  }
  let matched = false
  for (const one of names.toLowerCase().split(",")) {
    if (one.startsWith("!")) {
      if (globMatches(one.slice(1), name)) return false
    } else if (globMatches(one, name)) matched = true
  }
  return matched
}

/** Parsing and hashing a large file costs milliseconds of the one thread: the last few answers are kept. */
const MAX_CACHED_FILES = 16
const parsed = new Map<string, Result.Result<ReadonlyArray<Entry>, BadLine>>()

const parse = (text: string): Result.Result<ReadonlyArray<Entry>, BadLine> => {
  const id = createHash("sha256").update(text).digest("base64")
  const known = parsed.get(id)
  if (known !== undefined) return known
  const oldest = parsed.size >= MAX_CACHED_FILES ? parsed.keys().next() : undefined
  if (oldest !== undefined && oldest.done !== true) parsed.delete(oldest.value)
  const read = entries(text)
  parsed.set(id, read)
  return read
}

/** The first line that can't be read, or undefined. */
export const badLine = (text: string): BadLine | undefined => {
  const read = parse(text)
  return Result.isFailure(read) ? read.failure : undefined
}

/**
 * What `text` says about a host. Like OpenSSH: a host on another port than 22 is looked up as `[address]:port`, and as
 * `address` only when no line has the former.
 */
export const lookUp = (text: string, place: Place): Result.Result<KnownHost, BadLine> =>
  Result.map(parse(text), (all) => {
    const bare = place.address.toLowerCase()
    const named = (name: string): ReadonlyArray<Entry> => all.filter(({ names }) => namesMatch(names, name))
    const exact = named(knownName(place))
    const loose = place.port === SSH_PORT ? [] : named(bare)
    const plain = (from: ReadonlyArray<Entry>) => from.filter(({ marker }) => marker === "")
    const both = [...exact, ...loose]
    return {
      keys: (plain(exact).length > 0 ? plain(exact) : plain(loose)).map(({ key }) => key),
      revoked: new Set(both.filter(({ marker }) => marker === "@revoked").map(({ key }) => key.fingerprint)),
      certified: both.some(({ marker }) => marker === "@cert-authority")
    }
  })
