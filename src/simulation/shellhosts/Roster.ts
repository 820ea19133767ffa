/**
 * Owns which hosts there were, in a file of the state directory: their network, addresses, ports, accounts and keys, so that
 * a process that comes later boots the same ones again. Does not own their disks' content.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const FILE = "hosts.json"

const HostSchema = Schema.Struct({
  key: Schema.String,
  name: Schema.String,
  user: Schema.String,
  address: Schema.String,
  port: Schema.Number,
  given: Schema.optionalKey(Schema.Struct({ address: Schema.String, port: Schema.Number }))
})
export interface RosterHost extends Schema.Schema.Type<typeof HostSchema> {}

const RosterSchema = Schema.fromJsonString(
  Schema.Struct({
    net: Schema.Number,
    privateKey: Schema.String,
    hostKey: Schema.String,
    hosts: Schema.Array(HostSchema)
  })
)
export interface Roster extends Schema.Schema.Type<typeof RosterSchema> {}

export class RosterError extends Data.TaggedError("RosterError")<{ readonly message: string }> {}

const textIn = (directory: string): string | undefined => {
  try {
    return readFileSync(join(directory, FILE), "utf8")
  } catch {
    return undefined
  }
}

/** Undefined: there is none yet. */
export const readRoster = (directory: string): Effect.Effect<Roster | undefined, RosterError> =>
  Effect.suspend(() => {
    const text = textIn(directory)
    if (text === undefined) return Effect.succeed(undefined)
    return Schema.decodeUnknownEffect(RosterSchema)(text).pipe(
      Effect.mapError((error) => new RosterError({ message: `${join(directory, FILE)} is damaged: ${error.message}` }))
    )
  })

/** Whole or not at all; it holds a private key. */
export const writeRoster = (directory: string, roster: Roster): void => {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const file = join(directory, FILE)
  writeFileSync(`${file}.new`, JSON.stringify(roster), { mode: 0o600, flush: true })
  renameSync(`${file}.new`, file)
}
