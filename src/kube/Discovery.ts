/**
 * Owns which of a kind's versions the server serves (CONTRACT section 1: CAPI's v1beta2 where served, else v1beta1),
 * asked once a kind and again when the server stops serving it. Does not own requests.
 */
import * as Effect from "effect/Effect"
import type { Kind, KubeObject } from "../api/Kind.ts"
import type { KubeError } from "./KubeError.ts"
import { arrayAt, fail, type Subject, stringAt, subjectOf } from "./Status.ts"

export interface Discovery {
  readonly version: <A extends KubeObject>(kind: Kind<A>) => Effect.Effect<string, KubeError>
  /** Forgets what was found; false when there is nothing to choose from, or nothing had been found. */
  readonly forget: <A extends KubeObject>(kind: Kind<A>) => boolean
}

export const make = (get: (subject: Subject, path: string) => Effect.Effect<unknown, KubeError>): Discovery => {
  // By group and plural; bounded by the number of kinds in the program.
  const found = new Map<string, string>()
  const keyOf = (kind: Kind<KubeObject>) => `${kind.plural}.${kind.group}`

  /** The first preferred version that has the kind: a group may serve a version in which the kind is missing. */
  const discover = (kind: Kind<KubeObject>): Effect.Effect<string, KubeError> =>
    Effect.gen(function* () {
      const subject = subjectOf("discover", kind.kind)
      const root = kind.group === "" ? "/api" : `/apis/${kind.group}`
      const group = yield* get(subject, root)
      const served = new Set(
        arrayAt(group, "versions").map((entry) => (typeof entry === "string" ? entry : stringAt(entry, "version")))
      )
      for (const version of kind.versions) {
        if (!served.has(version)) continue
        const resources = arrayAt(yield* get(subject, `${root}/${version}`), "resources")
        if (resources.some((resource) => stringAt(resource, "name") === kind.plural)) return version
      }
      return yield* Effect.fail(
        fail(
          subject,
          "Unavailable",
          `the server serves ${keyOf(kind)} in none of the versions ${kind.versions.join(", ")} (is its CRD installed?)`
        )
      )
    })

  return {
    version: (kind) =>
      Effect.suspend(() => {
        const known = kind.versions.length === 1 ? kind.versions[0] : found.get(keyOf(kind))
        return known === undefined
          ? Effect.tap(discover(kind), (version) => Effect.sync(() => found.set(keyOf(kind), version)))
          : Effect.succeed(known)
      }),
    forget: (kind) => kind.versions.length > 1 && found.delete(keyOf(kind))
  }
}
