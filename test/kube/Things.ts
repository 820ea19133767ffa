/**
 * Owns what the tests of the live client share: a kind, its objects as a server writes them, a client of a scripted
 * server. Does not script anything.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Kind } from "../../src/api/Kind.ts"
import type { WatchEvent } from "../../src/kube/KubeClient.ts"
import type { KubeError } from "../../src/kube/KubeError.ts"
import { makeKubeClient } from "../../src/kube/LiveKubeClient.ts"
import { type Answer, type Asked, kubeconfig, serve } from "./FakeServer.ts"

const Thing = Schema.Struct({
  apiVersion: Schema.optionalKey(Schema.String),
  kind: Schema.optionalKey(Schema.String),
  metadata: Schema.Struct({
    name: Schema.String,
    uid: Schema.optionalKey(Schema.String),
    resourceVersion: Schema.optionalKey(Schema.String)
  }),
  size: Schema.optionalKey(Schema.Number)
})
type Thing = typeof Thing.Type

export const Things: Kind<Thing> = {
  group: "g.dev",
  versions: ["v1"],
  kind: "Thing",
  plural: "things",
  namespaced: true,
  schema: Thing
}
export const Versioned: Kind<Thing> = { ...Things, versions: ["v2", "v1"] }

export const ref = { namespace: "ns", name: "a" }
export const thing = (name: string, resourceVersion = "1") => ({
  metadata: { name, uid: `uid-${name}`, resourceVersion }
})
export const line = (type: string, object: unknown) => `${JSON.stringify({ type, object })}\n`

export const clientOf = (handler: (asked: Asked) => Answer) =>
  Effect.gen(function* () {
    const server = yield* serve(handler)
    const client = yield* makeKubeClient({ _tag: "Text", kubeconfig: kubeconfig(server.url, { token: "t" }) })
    return { client, asked: server.asked }
  })

export const failure = <A>(effect: Effect.Effect<A, KubeError>) =>
  effect.pipe(
    Effect.flip,
    Effect.mapError((value) => new Error(`succeeded with ${JSON.stringify(value)}`))
  )

export const tags = (events: Iterable<WatchEvent<Thing>>) =>
  Array.from(events, (event) =>
    event._tag === "Bookmark" ? `Bookmark ${event.resourceVersion}` : `${event._tag} ${event.object.metadata.name}`
  )
