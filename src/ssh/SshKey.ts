/**
 * Owns reading a private key before any connection is made, so that a bad Secret is told as such (phase `key`) and not
 * as a refused login; and SHA256 fingerprints as `ssh-keygen -l` prints them. Does not own where keys come from.
 */
import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { ParsedKey } from "ssh2"
import ssh2 from "ssh2"
import type { SshTarget } from "./SshClient.ts"
import { targetName } from "./SshClient.ts"
import { SshError } from "./SshError.ts"

/** Parsed keys kept: decrypting one costs 16 rounds of bcrypt in JavaScript, about 0.3 s of the only thread. */
const MAX_CACHED_KEYS = 64

/** `SHA256:…`, unpadded base64, of a public key in SSH wire format. */
export const fingerprint = (publicKey: Uint8Array): string =>
  `SHA256:${createHash("sha256").update(publicKey).digest("base64").replace(/=+$/, "")}`

const cache = new Map<string, ParsedKey>()

const cacheKey = (text: string, passphrase: string | undefined): string =>
  createHash("sha256")
    .update(`${text.length} ${passphrase === undefined ? "without" : "with"}\n`)
    .update(text)
    .update(passphrase ?? "")
    .digest("base64")

/** What the parser said, told as something a person can act on. The parser's own words never hold key material. */
const keyProblem = (text: string, parserMessage: string, hasPassphrase: boolean): string => {
  if (text.trim() === "") return "it is empty; put the private key, in OpenSSH or PEM format, into the Secret"
  if (/no passphrase/i.test(parserMessage)) {
    return "it is encrypted and no passphrase was given; give its passphrase, or a key without one"
  }
  if (hasPassphrase && /integrity check failed|bad passphrase|decrypt/i.test(parserMessage)) {
    return "the passphrase does not decrypt it; correct the passphrase"
  }
  if (/unsupported key format/i.test(parserMessage)) {
    return "it is not a private key in OpenSSH or PEM format; put the whole file, BEGIN and END lines included, into the Secret"
  }
  return `${parserMessage}; replace the key in the Secret by a whole, supported one (ed25519, ecdsa or rsa)`
}

/** OpenSSH, PEM (PKCS#1, SEC1) or PPK; CRLF line ends and surrounding blanks are forgiven. */
export const parsePrivateKey = (target: SshTarget): Effect.Effect<ParsedKey, SshError> =>
  Effect.suspend(() => {
    const text = Redacted.value(target.privateKey)
    const passphrase = target.passphrase === undefined ? undefined : Redacted.value(target.passphrase)
    const id = cacheKey(text, passphrase)
    const known = cache.get(id)
    if (known !== undefined) return Effect.succeed(known)
    const fail = (problem: string) =>
      Effect.fail(
        new SshError({
          phase: "key",
          target: targetName(target),
          message: `the private key for ${targetName(target)} cannot be used: ${problem}`
        })
      )
    return Effect.try({ try: () => ssh2.utils.parseKey(text, passphrase), catch: () => "Malformed key" }).pipe(
      Effect.matchEffect({
        onFailure: (message) => fail(keyProblem(text, message, passphrase !== undefined)),
        onSuccess: (parsed) => {
          if (parsed instanceof Error) return fail(keyProblem(text, parsed.message, passphrase !== undefined))
          if (!parsed.isPrivateKey()) return fail("it is a public key; put the private key into the Secret")
          const oldest = cache.size >= MAX_CACHED_KEYS ? cache.keys().next() : undefined
          if (oldest !== undefined && oldest.done !== true) cache.delete(oldest.value)
          cache.set(id, parsed)
          return Effect.succeed(parsed)
        }
      })
    )
  })
