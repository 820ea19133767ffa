/**
 * Holds: a private key logs in whatever format it is in, that of ssh-keygen, of openssl or of a cloud console, with and
 * without a passphrase; a passphrase that is missing or wrong is told as such, and no key material is.
 */
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { make } from "../../src/ssh/LiveSshClient.ts"
import { serve } from "./TestSshServer.ts"

const PASSPHRASE = "correct hörse"

interface Made {
  readonly private: string
  readonly public: string
}

const inDirectory = <A>(work: (file: string) => A): A => {
  const directory = mkdtempSync(join(tmpdir(), "machinist-key-"))
  try {
    return work(join(directory, "key"))
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const sshKeygen = (...args: ReadonlyArray<string>): Made =>
  inDirectory((file) => {
    execFileSync("ssh-keygen", ["-q", "-f", file, ...args])
    return { private: readFileSync(file, "utf8"), public: readFileSync(`${file}.pub`, "utf8") }
  })

/** `ssh-keygen -m PKCS8` can't write ed25519; openssl can, and ssh-keygen can't read what it writes. */
const pkcs8Ed25519 = (passphrase: string): Made =>
  inDirectory((file) => {
    const encrypt = passphrase === "" ? [] : ["-aes-256-cbc", "-pass", `pass:${passphrase}`]
    execFileSync("openssl", ["genpkey", "-algorithm", "ed25519", "-out", file, ...encrypt], { stdio: "ignore" })
    const decrypt = passphrase === "" ? [] : ["-passin", `pass:${passphrase}`]
    const spki = execFileSync("openssl", ["pkey", "-in", file, "-pubout", "-outform", "DER", ...decrypt])
    const field = (bytes: Buffer): Buffer => {
      const length = Buffer.alloc(4)
      length.writeUInt32BE(bytes.length)
      return Buffer.concat([length, bytes])
    }
    const blob = Buffer.concat([field(Buffer.from("ssh-ed25519")), field(spki.subarray(-32))])
    return { private: readFileSync(file, "utf8"), public: `ssh-ed25519 ${blob.toString("base64")}` }
  })

const TYPES: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
  ["ed25519", ["-t", "ed25519"]],
  ["ECDSA P-256", ["-t", "ecdsa", "-b", "256"]],
  ["ECDSA P-521", ["-t", "ecdsa", "-b", "521"]],
  ["RSA", ["-t", "rsa", "-b", "2048"]]
]
const FORMATS: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
  ["OpenSSH", ["-a", "2"]],
  ["PEM", ["-m", "PEM"]],
  ["PKCS #8", ["-m", "PKCS8"]]
]

const made: ReadonlyArray<readonly [string, (passphrase: string) => Made]> = [
  ...TYPES.flatMap(([type, typeArgs]) =>
    FORMATS.filter(([format]) => type !== "ed25519" || format === "OpenSSH").map(
      ([format, formatArgs]) =>
        [`${type}, ${format}`, (passphrase: string) => sshKeygen(...typeArgs, ...formatArgs, "-N", passphrase)] as const
    )
  ),
  ["ed25519, PKCS #8", pkcs8Ed25519]
]

const materialOf = (key: string): ReadonlyArray<string> =>
  key.split("\n").filter((line) => line.length > 20 && !line.startsWith("-----") && !line.includes(": "))

describe("private keys", () => {
  for (const [name, keyWith] of made)
    it.live(`${name}: logs in, and with its passphrase; without it, or with another one, is told`, () =>
      Effect.gen(function* () {
        const plain = keyWith("")
        const encrypted = keyWith(PASSPHRASE)
        const { target } = yield* serve({ authorized: [plain.public, encrypted.public] })
        const client = yield* make()
        const login = (key: string, passphrase?: string) =>
          client.connect({
            ...target,
            privateKey: Redacted.make(key),
            ...(passphrase === undefined ? {} : { passphrase: Redacted.make(passphrase) })
          })
        yield* login(plain.private)
        // Not needed, and given all the same.
        yield* login(plain.private, PASSPHRASE)
        yield* login(encrypted.private, PASSPHRASE)
        const missing = yield* Effect.flip(login(encrypted.private))
        const wrong = yield* Effect.flip(login(encrypted.private, "wrong"))
        for (const error of [missing, wrong]) {
          assert.strictEqual(error.phase, "passphrase")
          assert.strictEqual(error.retry, "waitForChange")
          for (const line of materialOf(encrypted.private)) assert.notInclude(error.message, line)
        }
        assert.include(missing.message, "no passphrase was given")
        assert.include(wrong.message, "the passphrase does not decrypt it")
      })
    )

  it.live("types that SSH servers of today refuse, and damaged keys, are phase key", () =>
    Effect.gen(function* () {
      const { target } = yield* serve()
      const client = yield* make()
      const x25519 = execFileSync("openssl", ["genpkey", "-algorithm", "x25519"], { encoding: "utf8" })
      const whole = pkcs8Ed25519("").private
      for (const key of [x25519, whole.replace(/\n[^-]{8}/, "\nAAAAAAAA"), whole.split("\n").slice(0, 1).join("\n")]) {
        const error = yield* Effect.flip(client.connect({ ...target, privateKey: Redacted.make(key) }))
        assert.strictEqual(error.phase, "key")
        for (const line of materialOf(key)) assert.notInclude(error.message, line)
      }
    })
  )
})
