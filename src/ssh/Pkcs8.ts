/**
 * Owns PKCS #8 private keys (`BEGIN PRIVATE KEY`, `BEGIN ENCRYPTED PRIVATE KEY`), which openssl and cloud consoles hand
 * out and ssh2 does not read: they become PKCS #1, SEC 1 or, for ed25519, OpenSSH's own format. Pure, in memory.
 */
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto"

export type Pkcs8 =
  /** Unencrypted, in a format that ssh2 reads. It is a secret. */
  | { readonly _tag: "Key"; readonly text: string }
  | { readonly _tag: "NoPassphrase" }
  | { readonly _tag: "WrongPassphrase" }
  | { readonly _tag: "Unusable"; readonly why: string }

const HEADER = /^-----BEGIN (ENCRYPTED )?PRIVATE KEY-----/

export const isPkcs8 = (text: string): boolean => HEADER.test(text)

/** Bytes of an ed25519 key, private or public, at the end of its DER form (RFC 8410). */
const ED25519_BYTES = 32
/** Characters of a line of base64, as ssh-keygen writes it. */
const LINE = 70

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

const field = (value: string | Uint8Array): Buffer => {
  const bytes = Buffer.from(value)
  return Buffer.concat([uint32(bytes.length), bytes])
}

/** OpenSSH's PROTOCOL.key, without encryption. */
const openSsh = (key: KeyObject): string => {
  const seed = key.export({ type: "pkcs8", format: "der" }).subarray(-ED25519_BYTES)
  const publicKey = createPublicKey(key).export({ type: "spki", format: "der" }).subarray(-ED25519_BYTES)
  const publicBlob = Buffer.concat([field("ssh-ed25519"), field(publicKey)])
  // The two check integers only tell whether decryption worked; the padding counts 1, 2, 3, … to a multiple of 8.
  const secret = Buffer.concat([uint32(0), uint32(0), publicBlob, field(Buffer.concat([seed, publicKey])), field("")])
  const padding = Buffer.from(Array.from({ length: (8 - (secret.length % 8)) % 8 }, (_, index) => index + 1))
  const whole = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    field("none"),
    field("none"),
    field(""),
    uint32(1),
    field(publicBlob),
    field(Buffer.concat([secret, padding]))
  ])
  const lines = whole.toString("base64").match(new RegExp(`.{1,${LINE}}`, "g")) ?? []
  return ["-----BEGIN OPENSSH PRIVATE KEY-----", ...lines, "-----END OPENSSH PRIVATE KEY-----"].join("\n")
}

const convert = (key: KeyObject): Pkcs8 => {
  switch (key.asymmetricKeyType) {
    case "ed25519":
      return { _tag: "Key", text: openSsh(key) }
    case "rsa":
      return { _tag: "Key", text: key.export({ type: "pkcs1", format: "pem" }).toString().trim() }
    case "ec":
      return { _tag: "Key", text: key.export({ type: "sec1", format: "pem" }).toString().trim() }
    default:
      return { _tag: "Unusable", why: `it is of type ${key.asymmetricKeyType ?? "unknown"}` }
  }
}

export const fromPkcs8 = (text: string, passphrase: string | undefined): Pkcs8 => {
  const encrypted = HEADER.exec(text)?.[1] !== undefined
  if (encrypted && passphrase === undefined) return { _tag: "NoPassphrase" }
  try {
    return convert(createPrivateKey({ key: text, format: "pem", ...(encrypted ? { passphrase } : {}) }))
  } catch {
    // OpenSSL tells a wrong passphrase by whatever the garbage then fails at.
    return encrypted ? { _tag: "WrongPassphrase" } : { _tag: "Unusable", why: "it is damaged" }
  }
}
