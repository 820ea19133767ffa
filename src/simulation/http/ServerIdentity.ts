/**
 * Owns what a client trusts the front by, and what the front knows a client by: a certificate authority of its own, a
 * server certificate for loopback, a bearer token. Made anew each time, or kept in a directory so that a kubeconfig
 * outlives a restart. The authority's key is thrown away: nothing else can be signed with it.
 */
import * as Clock from "effect/Clock"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import { KEY_SEED_BYTES, selfSigned, serverCertificate } from "../core/standins/Certificates.ts"

export const LOOPBACK = "127.0.0.1"
/** Certificates begin this long ago: nobody's clock is exact. In milliseconds. */
const BACKDATED_MILLIS = 3_600_000
/** One kept longer than this is made anew, in milliseconds: it is valid for ten years. */
const RENEWED_AFTER_MILLIS = 9 * 365 * 86_400_000
const TOKEN_BYTES = 24
const SUFFIX_BYTES = 4
const AUTHORITY = "machinist-simulation-ca"
const FILE = "identity.json"

const Identity = Schema.Struct({
  caPem: Schema.String,
  certPem: Schema.String,
  keyPem: Schema.String,
  token: Schema.String,
  madeMillis: Schema.Number
})
export interface ServerIdentity extends Schema.Schema.Type<typeof Identity> {}

export class IdentityError extends Data.TaggedError("IdentityError")<{ readonly message: string }> {}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

export const makeIdentity: Effect.Effect<ServerIdentity, never, SecureRandom.SecureRandom> = Effect.gen(function* () {
  const random = yield* SecureRandom.SecureRandom
  const nowMillis = yield* Clock.currentTimeMillis
  const from = nowMillis - BACKDATED_MILLIS
  const authority = selfSigned(AUTHORITY, yield* random.randomBytes(KEY_SEED_BYTES), from)
  const server = serverCertificate(
    { commonName: AUTHORITY, privateKey: authority.privateKey },
    LOOPBACK,
    yield* random.randomBytes(KEY_SEED_BYTES),
    from
  )
  return {
    caPem: authority.certificate,
    certPem: server.certificate,
    keyPem: server.privateKey,
    token: hex(yield* random.randomBytes(TOKEN_BYTES)),
    madeMillis: nowMillis
  }
})

const Stored = Schema.fromJsonString(Identity)

/** 0600 from the first byte, and whole or not at all. */
export const writeSecretFile = Effect.fnUntraced(function* (file: string, text: string) {
  const fs = yield* FileSystem.FileSystem
  const random = yield* SecureRandom.SecureRandom
  const temporary = `${file}.${hex(yield* random.randomBytes(SUFFIX_BYTES))}`
  yield* fs.writeFileString(temporary, text, { mode: 0o600, flag: "wx" }).pipe(
    Effect.andThen(fs.rename(temporary, file)),
    Effect.tapError(() => Effect.ignore(fs.remove(temporary)))
  )
})

/** That of the directory, made there the first time. */
export const keptIdentity = Effect.fnUntraced(function* (directory: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const file = path.join(directory, FILE)
  const unusable = (cause: { readonly message: string }) =>
    new IdentityError({ message: `${directory} can't hold the server's identity: ${cause.message}` })
  const nowMillis = yield* Clock.currentTimeMillis
  // Unreadable is as good as absent: clients get a new kubeconfig, nothing else is lost.
  const known = yield* fs.readFileString(file).pipe(Effect.flatMap(Schema.decodeUnknownEffect(Stored)), Effect.option)
  if (Option.isSome(known) && nowMillis - known.value.madeMillis < RENEWED_AFTER_MILLIS) return known.value
  const fresh = yield* makeIdentity
  yield* fs.makeDirectory(directory, { recursive: true, mode: 0o700 }).pipe(Effect.mapError(unusable))
  yield* writeSecretFile(file, JSON.stringify(fresh)).pipe(Effect.mapError(unusable))
  return fresh
})
