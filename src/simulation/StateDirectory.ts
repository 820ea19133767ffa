/**
 * Owns a simulated API server that outlives its process: every change is in an SQLite file, synced to disk, before the
 * request that made it is answered. So whoever was answered finds it again after a kill at any moment. One process a
 * directory. Does not own identities and kubeconfigs (http/ServerIdentity.ts). `restore` of the server is not kept.
 */
import type { DatabaseSync } from "node:sqlite"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { StoredObject } from "./apiserver/Json.ts"
import type { Place, Snapshot } from "./apiserver/Storage.ts"
import type { SimulatedApiServerShape } from "./SimulatedApiServer.ts"

const FILE = "objects.sqlite"
/** Of the tables; a file of another one is refused rather than guessed at. */
const FORMAT = 1

export class StateError extends Data.TaggedError("StateError")<{ readonly message: string }> {}

const SETUP = `
  PRAGMA locking_mode = EXCLUSIVE;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, grp TEXT NOT NULL, object TEXT NOT NULL,
    PRIMARY KEY (grp, resource, namespace, name)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
`

const Numbers = Schema.Array(Schema.Struct({ name: Schema.String, value: Schema.Int }))
const Rows = Schema.Array(Schema.Struct({ grp: Schema.String, resource: Schema.String, object: Schema.String }))

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

const open = (file: string) =>
  Effect.acquireRelease(
    Effect.tryPromise({
      // Not imported with this file: other commands shall not load it.
      try: async () => {
        const sqlite = await import("node:sqlite")
        const database = new sqlite.DatabaseSync(file)
        try {
          database.exec(SETUP)
          // Takes the lock: a second process fails here and now.
          database.exec("BEGIN EXCLUSIVE; COMMIT")
          return database
        } catch (error) {
          database.close()
          throw error
        }
      },
      catch: (cause) =>
        new StateError({
          message: /locked|busy/i.test(messageOf(cause))
            ? `${file} is used by another process; end it, or give another --state directory`
            : `${file} can't be used: ${messageOf(cause)}`
        })
    }),
    (database) => Effect.sync(() => database.close())
  )

const decode = <S extends Schema.Top>(schema: S, file: string) => {
  const read = Schema.decodeUnknownEffect(schema)
  return (raw: unknown) =>
    read(raw).pipe(Effect.mapError((error) => new StateError({ message: `${file} is damaged: ${error.message}` })))
}

const load = Effect.fnUntraced(function* (database: DatabaseSync, file: string) {
  const numbers = yield* decode(Numbers, file)(database.prepare("SELECT name, value FROM numbers").all())
  const known = new Map(numbers.map(({ name, value }) => [name, value]))
  const format = known.get("format")
  if (format === undefined) {
    database.prepare("INSERT INTO numbers VALUES ('format', ?)").run(FORMAT)
    return undefined
  }
  if (format !== FORMAT) {
    return yield* new StateError({ message: `${file} has format ${format}; this version reads ${FORMAT}` })
  }
  const revision = known.get("revision")
  if (revision === undefined) return undefined
  const rows = yield* decode(Rows, file)(database.prepare("SELECT grp, resource, object FROM objects").all())
  return { revision, rows }
})

const snapshotOf = (loaded: {
  readonly revision: number
  readonly rows: ReadonlyArray<{ readonly grp: string; readonly resource: string; readonly object: string }>
}): Snapshot => ({
  revision: loaded.revision,
  objects: loaded.rows.map(({ grp, resource, object }) => {
    // Only `follow` writes rows, and only stored objects.
    const stored: StoredObject = JSON.parse(object)
    return { group: grp, plural: resource, object: stored }
  })
})

/** Every change from now on, each in a transaction of its own. */
const follow = (server: SimulatedApiServerShape, database: DatabaseSync): void => {
  const put = database.prepare(
    "INSERT OR REPLACE INTO objects (grp, resource, namespace, name, object) VALUES (?, ?, ?, ?, ?)"
  )
  const remove = database.prepare("DELETE FROM objects WHERE grp = ? AND resource = ? AND namespace = ? AND name = ?")
  const number = database.prepare("INSERT OR REPLACE INTO numbers VALUES ('revision', ?)")
  const write = (place: Place, object: StoredObject | undefined, revision: number): void => {
    const key = [place.type.group, place.type.plural, place.namespace, place.name] as const
    database.exec("BEGIN")
    try {
      if (object === undefined) remove.run(...key)
      else put.run(...key, JSON.stringify(object))
      number.run(revision)
      database.exec("COMMIT")
    } catch (error) {
      if (database.isTransaction) database.exec("ROLLBACK")
      throw error
    }
  }
  server.store.storage.onEvent((place, event) => {
    // The events of the scope's end come when the file is closed already: nobody is answered any more.
    if (database.isOpen) write(place, event.type === "Deleted" ? undefined : event.object, event.revision)
  })
}

/**
 * Keeps the server's objects in the directory until the scope ends. What the directory holds replaces what the server
 * holds; says whether it held anything. To be called before anyone talks to the server.
 */
export const keepIn = Effect.fnUntraced(function* (
  server: SimulatedApiServerShape,
  directory: string
): Effect.fn.Return<boolean, StateError, FileSystem.FileSystem | Path.Path | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* fs
    .makeDirectory(directory, { recursive: true, mode: 0o700 })
    .pipe(Effect.mapError((error) => new StateError({ message: `${directory} can't be made: ${error.message}` })))
  const file = path.join(directory, FILE)
  // Secrets are in there; SQLite gives its other files the mode of this one.
  yield* fs.writeFileString(file, "", { flag: "a", mode: 0o600 }).pipe(
    Effect.andThen(fs.chmod(file, 0o600)),
    Effect.mapError((error) => new StateError({ message: `${file} can't be written: ${error.message}` }))
  )
  const database = yield* open(file)
  const loaded = yield* load(database, file)
  if (loaded !== undefined) yield* server.restore(snapshotOf(loaded))
  follow(server, database)
  if (loaded === undefined) saveAll(server, database)
  return loaded !== undefined
})

/** What was there before the first change: the system's namespaces. */
const saveAll = (server: SimulatedApiServerShape, database: DatabaseSync): void => {
  const { objects, revision } = server.snapshot()
  const put = database.prepare(
    "INSERT OR REPLACE INTO objects (grp, resource, namespace, name, object) VALUES (?, ?, ?, ?, ?)"
  )
  database.exec("BEGIN")
  for (const { group, plural, object } of objects) {
    put.run(group, plural, object.metadata.namespace ?? "", object.metadata.name, JSON.stringify(object))
  }
  database.prepare("INSERT OR REPLACE INTO numbers VALUES ('revision', ?)").run(revision)
  database.exec("COMMIT")
}
