/**
 * Owns whose host key is trusted: pins (fingerprints), known_hosts, or, with neither, the key seen first, which whoever
 * connects has to pin before anything secret is said. Pure; both the live client and hosts in memory ask it. Does not
 * own where pins are kept.
 */
import * as Result from "effect/Result"
import { fingerprint } from "./Fingerprint.ts"
import {
  type BadLine,
  badLine,
  blobType,
  type KnownHost,
  knownName,
  lookUp,
  type Place,
  readPublicKey
} from "./KnownHosts.ts"

/** One key that a host may show. */
export interface HostKeyPin {
  /** Makes the client ask for this type of key first: a host may have several. */
  readonly type?: string
  /** `SHA256:…`, as `ssh-keygen -l` prints it. */
  readonly fingerprint: string
}

export interface HostKeyTrust {
  /** Any of these is accepted, and nothing else. Empty: `knownHosts` decides. */
  readonly pins: ReadonlyArray<HostKeyPin>
  /**
   * Contents of a known_hosts file. What it says of a host binds pins too: where both have keys, both must agree. Absent,
   * and no pins: the key seen first.
   */
  readonly knownHosts?: string
}

/** Accepts the key seen first: `SshSession.hostKey` has to be pinned, and connected to again, before secrets are sent. */
export const firstUse: HostKeyTrust = { pins: [] }

export const isFirstUse = (trust: HostKeyTrust): boolean => trust.pins.length === 0 && trust.knownHosts === undefined

export interface HostKeyRefusal {
  /** `changed`: another key than the one expected; `unknown`: nothing is known of the host, and that is not enough. */
  readonly why: "changed" | "unknown" | "revoked" | "certificate" | "invalid"
  /** Reads on after "the host key of NAME". */
  readonly message: string
}

/** What a host shows, in SSH wire format. */
export const pinOf = (publicKey: Uint8Array): HostKeyPin => {
  const type = blobType(publicKey)
  return { ...(type === undefined ? {} : { type }), fingerprint: fingerprint(publicKey) }
}

/** `ssh-ed25519 SHA256:…`, as `parsePins` reads it. */
export const pinText = ({ type, fingerprint: print }: HostKeyPin): string =>
  type === undefined ? print : `${type} ${print}`

const FINGERPRINT = /^SHA256:[A-Za-z0-9+/]{43}=?$/

const parsePin = (text: string): HostKeyPin | undefined => {
  const [first = "", second = ""] = text.split(/\s+/)
  if (FINGERPRINT.test(first)) return { fingerprint: first.replace(/=$/, "") }
  if (FINGERPRINT.test(second)) return { type: first, fingerprint: second.replace(/=$/, "") }
  return readPublicKey(first, second)
}

/**
 * Fingerprints (`SHA256:…`, with or without the key's type before it) or public keys (`ssh-ed25519 AAAA…`), one a line
 * or with commas between. An empty text is none. Fails with the entry that is neither.
 */
export const parsePins = (text: string): Result.Result<ReadonlyArray<HostKeyPin>, string> => {
  const pins: Array<HostKeyPin> = []
  for (const entry of text.split(/[\n,]/).map((one) => one.trim())) {
    if (entry === "") continue
    const pin = parsePin(entry)
    if (pin === undefined) return Result.fail(entry)
    pins.push(pin)
  }
  return Result.succeed(pins)
}

const list = (pins: ReadonlyArray<HostKeyPin>): string => pins.map(pinText).join(" or ")

const changed = (offered: HostKeyPin, expected: ReadonlyArray<HostKeyPin>): HostKeyRefusal => ({
  why: "changed",
  message:
    `is ${pinText(offered)}, expected was ${list(expected)}; if the host was reinstalled or its key replaced on ` +
    "purpose, correct the expected key, else find out who answers at that address"
})

const NOTHING: KnownHost = { keys: [], revoked: new Set<string>(), certified: false }

/** What knownHosts says of the host, or why that can't be told. */
const known = ({ knownHosts }: HostKeyTrust, place: Place): Result.Result<KnownHost, BadLine> =>
  knownHosts === undefined ? Result.succeed(NOTHING) : lookUp(knownHosts, place)

const isAmong = (offered: HostKeyPin, keys: ReadonlyArray<HostKeyPin>): boolean =>
  keys.some((key) => key.fingerprint === offered.fingerprint)

/** Undefined: the key is accepted. */
export const refusal = (trust: HostKeyTrust, place: Place, publicKey: Uint8Array): HostKeyRefusal | undefined => {
  const offered = pinOf(publicKey)
  const file = known(trust, place)
  if (Result.isFailure(file)) {
    const { line, why } = file.failure
    return { why: "invalid", message: `can't be checked: line ${line} of knownHosts can't be read: ${why}` }
  }
  const { keys, revoked, certified } = file.success
  if (revoked.has(offered.fingerprint))
    return {
      why: "revoked",
      message: `, ${pinText(offered)}, is revoked in knownHosts; give the host a new key, and that one to knownHosts`
    }
  for (const expected of [trust.pins, keys])
    if (expected.length > 0 && !isAmong(offered, expected)) return changed(offered, expected)
  if (trust.pins.length > 0 || keys.length > 0 || trust.knownHosts === undefined) return undefined
  if (certified)
    return {
      why: "certificate",
      message: `is ${pinText(offered)}, and knownHosts has only a @cert-authority for it; host certificates are not supported: add the host's own key`
    }
  return {
    why: "unknown",
    message: `is ${pinText(offered)}, and knownHosts has no line for ${knownName(place)}; add what \`ssh-keyscan -p ${place.port} ${place.address}\` prints, once you have checked it`
  }
}

/** Types of the keys that the host is known by: they are asked for first, as OpenSSH does. */
export const knownTypes = (trust: HostKeyTrust, place: Place): ReadonlyArray<string> => {
  const file = known(trust, place)
  const keys = [...trust.pins, ...(Result.isFailure(file) ? [] : file.success.keys)]
  return [...new Set(keys.map(({ type }) => type).filter((type) => type !== undefined))]
}

export { badLine, type Place }
