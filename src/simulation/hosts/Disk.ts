/**
 * Owns a simulated host's file system: paths, contents, modes, who wrote them, a disk that can be full or read-only,
 * and a /run and /tmp that a reboot empties. Does not own what the driver or a step makes of it.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

export class DiskError extends Data.TaggedError("DiskError")<{ readonly detail: string }> {}

/** Who put a file there; `image` is what the host came with. */
export type Via = "image" | "driver" | "file" | "step"

export interface DiskEntry {
  readonly content: Uint8Array
  readonly mode: string
  readonly owner: string
  readonly via: Via
  /** The claim on whose behalf it was written. */
  readonly claim?: string
}

export type Attributes = Partial<Omit<DiskEntry, "content">>

export interface Disk {
  readonly read: (path: string) => Uint8Array | undefined
  readonly readText: (path: string) => string | undefined
  readonly entry: (path: string) => DiskEntry | undefined
  /** A file of that path, or anything below it. */
  readonly exists: (path: string) => boolean
  /** Paths below (and at) `path`, sorted. */
  readonly list: (path: string) => ReadonlyArray<string>
  /** Replaces atomically (temporary name and rename in one). */
  readonly write: (
    path: string,
    content: Uint8Array | string,
    attributes?: Attributes
  ) => Effect.Effect<void, DiskError>
  /** `reserved`: the room for it was set aside before, so a full disk does not matter. */
  readonly append: (
    path: string,
    text: string,
    options?: Attributes & { readonly reserved?: boolean }
  ) => Effect.Effect<void, DiskError>
  /** Recursive; says whether something was there. */
  readonly remove: (path: string) => boolean
  /** Fails as a write would that needs new room on the persistent disk. */
  readonly reserve: Effect.Effect<void, DiskError>
  readonly bytesBelow: (path: string) => number
  /** No room for more below `root`; undefined: there is again. */
  readonly setFull: (root: string | undefined) => void
  readonly setReadOnly: (readOnly: boolean) => void
  readonly loseVolatile: () => void
  /** Everything but what came with the image. */
  readonly reimage: () => void
  /** Called, synchronously, after every change; the result unsubscribes. */
  readonly subscribe: (listener: () => void) => () => void
  /** Ends as soon as `condition` holds; it is asked now and after each change. */
  readonly until: (condition: () => boolean) => Effect.Effect<void>
}

const VOLATILE = ["/run", "/tmp"]
const below = (path: string, root: string): boolean => path === root || path.startsWith(root === "/" ? "/" : `${root}/`)
const isVolatile = (path: string): boolean => VOLATILE.some((root) => below(path, root))
const encoder = new TextEncoder()
const decoder = new TextDecoder()

export const makeDisk = (image: Readonly<Record<string, string>> = {}): Disk => {
  const files = new Map<string, DiskEntry>()
  const listeners = new Set<() => void>()
  let full: string | undefined
  let readOnly = false
  const changed = (): void => {
    for (const listener of [...listeners]) listener()
  }
  const install = (): void => {
    for (const [path, text] of Object.entries(image)) {
      files.set(path, { content: encoder.encode(text), mode: "0644", owner: "root:root", via: "image" })
    }
  }
  install()
  const refusal = (path: string, grows: boolean): DiskError | undefined => {
    if (isVolatile(path)) return undefined
    if (readOnly) return new DiskError({ detail: `${path}: Read-only file system` })
    return full !== undefined && below(path, full) && grows
      ? new DiskError({ detail: `${path}: No space left on device` })
      : undefined
  }
  const put = (path: string, content: Uint8Array, attributes: Attributes): void => {
    const before = files.get(path)
    files.set(path, {
      content,
      mode: attributes.mode ?? before?.mode ?? "0644",
      owner: attributes.owner ?? before?.owner ?? "root:root",
      via: attributes.via ?? before?.via ?? "driver",
      ...(attributes.claim === undefined ? {} : { claim: attributes.claim })
    })
    changed()
  }
  const list = (root: string): ReadonlyArray<string> => [...files.keys()].filter((path) => below(path, root)).sort()
  const remove = (path: string): boolean => {
    const gone = list(path)
    for (const one of gone) files.delete(one)
    if (gone.length > 0) changed()
    return gone.length > 0
  }
  const subscribe = (listener: () => void) => {
    listeners.add(listener)
    return () => {
      listeners.delete(listener)
    }
  }
  return {
    read: (path) => files.get(path)?.content,
    readText: (path) => {
      const content = files.get(path)?.content
      return content === undefined ? undefined : decoder.decode(content)
    },
    entry: (path) => files.get(path),
    exists: (path) => files.has(path) || list(path).length > 0,
    list,
    write: (path, content, attributes = {}) =>
      Effect.suspend(() => {
        const bytes = typeof content === "string" ? encoder.encode(content) : content
        const refused = refusal(path, bytes.length > 0)
        if (refused !== undefined) return Effect.fail(refused)
        return Effect.sync(() => put(path, bytes, attributes))
      }),
    append: (path, text, options = {}) =>
      Effect.suspend(() => {
        const refused = refusal(path, options.reserved !== true)
        if (refused !== undefined) return Effect.fail(refused)
        const { reserved: _, ...attributes } = options
        const before = files.get(path)?.content
        return Effect.sync(() =>
          put(path, encoder.encode((before === undefined ? "" : decoder.decode(before)) + text), attributes)
        )
      }),
    remove: (path) => !(readOnly && !isVolatile(path)) && remove(path),
    reserve: Effect.suspend(() => {
      const refused = refusal("/var/lib/machinist", true)
      return refused === undefined ? Effect.void : Effect.fail(refused)
    }),
    bytesBelow: (path) => list(path).reduce((sum, one) => sum + (files.get(one)?.content.length ?? 0), 0),
    setFull: (root) => {
      full = root
    },
    setReadOnly: (value) => {
      readOnly = value
    },
    loseVolatile: () => {
      for (const root of VOLATILE) remove(root)
    },
    reimage: () => {
      files.clear()
      full = undefined
      readOnly = false
      install()
      changed()
    },
    subscribe,
    until: (condition) =>
      Effect.callback((resume) => {
        if (condition()) {
          resume(Effect.void)
          return
        }
        const unsubscribe = subscribe(() => {
          if (!condition()) return
          unsubscribe()
          resume(Effect.void)
        })
        return Effect.sync(unsubscribe)
      })
  }
}
