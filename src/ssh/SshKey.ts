/**
 * Owns reading a private key before any connection is made, so that a bad Secret is told as such (phases `key` and
 * `passphrase`) and not as a refused login. Does not own where keys come from, nor PKCS #8 (Pkcs8.ts).
 */
import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { ParsedKey } from "ssh2"
import ssh2 from "ssh2"
import { fromPkcs8, isPkcs8 } from "./Pkcs8.ts"
import { type SshLogin, targetName } from "./SshClient.ts"
import { SshError, type SshPhase } from "./SshError.ts"

/** Parsed keys kept: decrypting one costs 16 rounds of bcrypt in JavaScript, about 0.3 s of the only thread. */
const MAX_CACHED_KEYS = 64

const cache = new Map<string, ParsedKey>()

const cacheKey = (text: string, passphrase: string | undefined): string =>
  createHash("sha256")
    .update(`${text.length} ${passphrase === undefined ? "without" : "with"}\n`)
    .update(text)
    .update(passphrase ?? "")
    .digest("base64")

type Problem = readonly [SshPhase, string]

const MISSING: Problem = [
  "passphrase",
  "it is encrypted and no passphrase was given; give its passphrase, or a key without one"
]
const WRONG: Problem = ["passphrase", "the passphrase does not decrypt it; correct the passphrase"]

/** What the parser said, told as something a person can act on. The parser's own words never hold key material. */
const keyProblem = (text: string, parserMessage: string, hasPassphrase: boolean): Problem => {
  if (text.trim() === "") return ["key", "it is empty; put the private key, in OpenSSH or PEM format, into the Secret"]
  if (/no passphrase/i.test(parserMessage)) return MISSING
  if (hasPassphrase && /integrity check failed|bad passphrase|decrypt/i.test(parserMessage)) return WRONG
  if (/unsupported key format/i.test(parserMessage)) {
    return [
      "key",
      "it is not a private key in OpenSSH or PEM format; put the whole file, BEGIN and END lines included, into the Secret"
    ]
  }
  return ["key", `${parserMessage}; replace the key in the Secret by a whole, supported one (ed25519, ecdsa or rsa)`]
}

/** A key of another format than ssh2 knows, in one that it knows. */
const readable = (text: string, passphrase: string | undefined): { readonly text: string } | Problem => {
  if (!isPkcs8(text)) return { text }
  const read = fromPkcs8(text, passphrase)
  switch (read._tag) {
    case "Key":
      return { text: read.text }
    case "NoPassphrase":
      return MISSING
    case "WrongPassphrase":
      return WRONG
    case "Unusable":
      return ["key", `${read.why}; replace the key in the Secret by a whole, supported one (ed25519, ecdsa or rsa)`]
  }
}

const parse = (text: string, passphrase: string | undefined): ParsedKey | Problem => {
  const plain = readable(text, passphrase)
  if (!("text" in plain)) return plain
  let parsed: ParsedKey | Error
  try {
    parsed = ssh2.utils.parseKey(plain.text, passphrase)
  } catch {
    parsed = new Error("Malformed key")
  }
  if (parsed instanceof Error) return keyProblem(text, parsed.message, passphrase !== undefined)
  return parsed.isPrivateKey() ? parsed : ["key", "it is a public key; put the private key into the Secret"]
}

/**
 * OpenSSH, PEM (PKCS #1, SEC 1, PKCS #8) or PPK, of type ed25519, ECDSA or RSA, encrypted or not; CRLF line ends and
 * surrounding blanks are forgiven. An empty passphrase is none.
 */
export const parsePrivateKey = (login: SshLogin): Effect.Effect<ParsedKey, SshError> =>
  Effect.suspend(() => {
    const text = Redacted.value(login.privateKey).trim()
    const given = login.passphrase === undefined ? "" : Redacted.value(login.passphrase)
    const passphrase = given === "" ? undefined : given
    const id = cacheKey(text, passphrase)
    const known = cache.get(id)
    if (known !== undefined) return Effect.succeed(known)
    const key = parse(text, passphrase)
    if (!("getPublicSSH" in key)) {
      const [phase, problem] = key
      const target = targetName(login)
      const message = `the private key for ${target} cannot be used: ${problem}`
      return Effect.fail(new SshError({ phase, target, message }))
    }
    const oldest = cache.size >= MAX_CACHED_KEYS ? cache.keys().next() : undefined
    if (oldest !== undefined && oldest.done !== true) cache.delete(oldest.value)
    cache.set(id, key)
    return Effect.succeed(key)
  })
