/**
 * Owns the certificates of stand-in control planes: real X.509, self-signed or signed by such a CA, made of Ed25519 keys
 * from given bytes, so that a seed gives the same ones again. Does not own randomness nor time: both are passed in. What
 * guards a simulated cluster guards nothing else.
 */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto"
import { isIP } from "node:net"
import * as DateTime from "effect/DateTime"

/** Bytes of randomness a key is made of. */
export const KEY_SEED_BYTES = 32
/** Milliseconds: ten years, as k0s has it. */
const VALIDITY_MILLIS = 10 * 365 * 86_400_000

export interface KeyPair {
  /** PEM, PKCS #8. */
  readonly privateKey: string
  /** PEM, SubjectPublicKeyInfo. */
  readonly publicKey: string
}

export interface Certificate extends KeyPair {
  /** PEM. */
  readonly certificate: string
}

const tlv = (tag: number, ...contents: ReadonlyArray<Uint8Array>): Uint8Array => {
  const content = Buffer.concat(contents)
  const { length } = content
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}
const sequence = (...parts: ReadonlyArray<Uint8Array>) => tlv(0x30, ...parts)
const bytes = (...values: ReadonlyArray<number>) => Uint8Array.from(values)
const bits = (unused: number, content: Uint8Array) => tlv(0x03, bytes(unused), content)
const octets = (content: Uint8Array) => tlv(0x04, content)
const ascii = (tag: number, text: string) => tlv(tag, Buffer.from(text, "utf8"))
const oid = (hex: string) => tlv(0x06, Buffer.from(hex, "hex"))

const ED25519 = sequence(oid("2b6570"))
const COMMON_NAME = oid("550403")
const SUBJECT_KEY_ID = oid("551d0e")
const KEY_USAGE = oid("551d0f")
const ALTERNATIVE_NAMES = oid("551d11")
const BASIC_CONSTRAINTS = oid("551d13")
const EXTENDED_KEY_USAGE = oid("551d25")
const SERVER_AUTH = oid("2b06010505070301")
const TRUE = tlv(0x01, bytes(0xff))

/** What stands before the 32 bytes of an Ed25519 key in PKCS #8. */
const PKCS8_ED25519 = Buffer.from("302e020100300506032b657004220420", "hex")

const keyFrom = (seed: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, seed]), format: "der", type: "pkcs8" })

const pem = (label: string, der: Uint8Array): string => {
  const lines = Buffer.from(der).toString("base64").replaceAll(/.{64}/g, "$&\n").trimEnd()
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`
}

const spki = (key: KeyObject): Uint8Array => createPublicKey(key).export({ type: "spki", format: "der" })

const pair = (key: KeyObject): KeyPair => ({
  privateKey: pem("PRIVATE KEY", key.export({ type: "pkcs8", format: "der" })),
  publicKey: pem("PUBLIC KEY", spki(key))
})

export const keyPair = (seed: Uint8Array): KeyPair => pair(keyFrom(seed))

const name = (commonName: string) => sequence(tlv(0x31, sequence(COMMON_NAME, ascii(0x0c, commonName))))

/** UTCTime has two digits of a year: from 2050 on GeneralizedTime is the rule (RFC 5280). */
const time = (millis: number): Uint8Array => {
  const digits = DateTime.formatIso(DateTime.makeUnsafe(millis)).replaceAll(/\.\d+|[-:T]/g, "")
  return Number(digits.slice(0, 4)) < 2050 ? ascii(0x17, digits.slice(2)) : ascii(0x18, digits)
}

const keyId = (key: KeyObject) => createHash("sha1").update(spki(key)).digest()

const extension = (id: Uint8Array, critical: boolean, value: Uint8Array) =>
  sequence(id, ...(critical ? [TRUE] : []), octets(value))

interface Request {
  readonly subject: string
  readonly issuer: string
  readonly key: KeyObject
  readonly signer: KeyObject
  readonly nowMillis: number
  readonly extensions: ReadonlyArray<Uint8Array>
}

const issue = ({ extensions, issuer, key, nowMillis, signer, subject }: Request): Certificate => {
  const serial = Buffer.concat([bytes(0x01), keyId(key).subarray(0, 15)])
  const content = sequence(
    tlv(0xa0, tlv(0x02, bytes(2))),
    tlv(0x02, serial),
    ED25519,
    name(issuer),
    sequence(time(nowMillis), time(nowMillis + VALIDITY_MILLIS)),
    name(subject),
    spki(key),
    tlv(0xa3, sequence(...extensions))
  )
  const certificate = sequence(content, ED25519, bits(0, sign(null, content, signer)))
  return { ...pair(key), certificate: pem("CERTIFICATE", certificate) }
}

/** Digital signature, key agreement: bits 0 and 4. Certificates and revocation lists: bits 5 and 6. */
const USAGE = { ca: bits(1, bytes(0x06)), server: bits(3, bytes(0x88)) } as const

export const selfSigned = (commonName: string, seed: Uint8Array, nowMillis: number): Certificate => {
  const key = keyFrom(seed)
  return issue({
    subject: commonName,
    issuer: commonName,
    key,
    signer: key,
    nowMillis,
    extensions: [
      extension(BASIC_CONSTRAINTS, true, sequence(TRUE)),
      extension(KEY_USAGE, true, USAGE.ca),
      extension(SUBJECT_KEY_ID, false, octets(keyId(key)))
    ]
  })
}

const groups = (part: string): ReadonlyArray<number> =>
  part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16))

/** Of an address as URLs have it: eight groups, of which one `::` may stand for several. */
const ipv6Bytes = (host: string): Uint8Array => {
  const [head = "", tail = ""] = new URL(`http://[${host}]`).hostname.slice(1, -1).split("::")
  const [before, after] = [groups(head), groups(tail)]
  const all = [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after]
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]))
}

const addressBytes = (host: string): Uint8Array | undefined => {
  switch (isIP(host)) {
    case 4:
      return Uint8Array.from(host.split(".").map(Number))
    case 6:
      return ipv6Bytes(host)
    default:
      return undefined
  }
}

/** For one host name or address. */
export const serverCertificate = (
  ca: { readonly commonName: string; readonly privateKey: string },
  host: string,
  seed: Uint8Array,
  nowMillis: number
): Certificate => {
  const address = addressBytes(host)
  const alternative = address === undefined ? ascii(0x82, host) : tlv(0x87, address)
  return issue({
    subject: host,
    issuer: ca.commonName,
    key: keyFrom(seed),
    signer: createPrivateKey(ca.privateKey),
    nowMillis,
    extensions: [
      extension(BASIC_CONSTRAINTS, true, sequence()),
      extension(KEY_USAGE, true, USAGE.server),
      extension(EXTENDED_KEY_USAGE, false, sequence(SERVER_AUTH)),
      extension(ALTERNATIVE_NAMES, false, sequence(alternative))
    ]
  })
}
