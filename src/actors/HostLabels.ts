/**
 * Owns what becomes of a host's labels and annotations: a machine that claims it takes them over, and so does its Machine,
 * each as far as it lacks them; they go when the host is given back. Which ones came from a host stands in annotation
 * `machinist.dev/from-host`, for nothing else tells them from a template's of the same value, and the host's object may be
 * edited, or gone, by then. When it is written is ClaimWrites.ts's.
 *
 * What can't be told apart: a label that somebody sets to the very value it has from the host counts as the host's. A
 * template's word about the place that gave way to the host's does not come back.
 */
import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Machines } from "../api/ClusterApi.ts"
import { stringMap } from "../api/Field.ts"
import type { KubeObject } from "../api/Kind.ts"
import * as Names from "../api/Names.ts"
import type { PooledRemoteMachine } from "../api/PooledRemoteMachine.ts"
import type { RemoteMachine } from "../api/RemoteMachine.ts"
import type { JsonObject, KubeClientShape } from "../kube/KubeClient.ts"
import { annotation, inherited } from "./Objects.ts"

/** How often the Machine, which others write too, is read again after a conflict. */
const OWNER_RETRIES = 5

type Values = Readonly<Record<string, string>>

/** By key: a digest of the value, so that an annotation of many KiB is not there twice. */
const FromHost = Schema.Struct({ labels: stringMap, annotations: stringMap })
const FromHostText = Schema.fromJsonString(FromHost)
const decode = Schema.decodeUnknownOption(FromHostText)
const encode = Schema.encodeSync(FromHostText)

const NOTHING: typeof FromHost.Type = { labels: {}, annotations: {} }

const givenTo = (object: KubeObject): typeof FromHost.Type =>
  Option.getOrElse(decode(annotation(object, Names.FROM_HOST_ANNOTATION)), () => NOTHING)

const DIGEST_CHARACTERS = 12
const digest = (value: string): string => createHash("sha256").update(value).digest("hex").slice(0, DIGEST_CHARACTERS)

/** Where the host is, nobody but the host can say: a template's word about it gives way. */
const PLACES: ReadonlySet<string> = new Set([Names.ZONE_LABEL, Names.REGION_LABEL])

/** A label may be called `constructor`. */
const at = (values: Values, key: string): string | undefined => (Object.hasOwn(values, key) ? values[key] : undefined)

/** `given`: by the former host. What somebody has changed since is not the host's any more. */
const change = (present: Values, given: Values, wanted: Values) => {
  const former = new Set(
    Object.entries(inherited(given) ?? {}).flatMap(([key, known]) => {
      const value = at(present, key)
      return value !== undefined && digest(value) === known ? [key] : []
    })
  )
  const taken = Object.entries(wanted).filter(([key, value]) => {
    const own = former.has(key) ? undefined : at(present, key)
    return own === undefined || (PLACES.has(key) && own !== value)
  })
  const next = new Map(taken)
  const gone = [...former].filter((key) => !next.has(key)).map((key) => [key, null] as const)
  return {
    patch: Object.fromEntries([...gone, ...taken.filter(([key, value]) => at(present, key) !== value)]),
    given: Object.fromEntries(taken.map(([key, value]) => [key, digest(value)]))
  }
}

const isEmpty = (values: object): boolean => Object.keys(values).length === 0

/**
 * For a merge patch of metadata; nothing is in it that stands there already. `host`: the next one, if there is one; `more`:
 * annotations of the same write.
 */
export const handedOver = (
  object: KubeObject,
  host: PooledRemoteMachine | undefined,
  more: JsonObject = {}
): { readonly labels?: JsonObject; readonly annotations?: JsonObject } => {
  const { labels = {}, annotations = {} } = object.metadata
  const before = givenTo(object)
  const ofLabels = change(labels, before.labels, inherited(host?.metadata.labels) ?? {})
  const ofAnnotations = change(annotations, before.annotations, inherited(host?.metadata.annotations) ?? {})
  const isNone = isEmpty(ofLabels.given) && isEmpty(ofAnnotations.given)
  const record = isNone ? null : encode({ labels: ofLabels.given, annotations: ofAnnotations.given })
  const isKnown = (annotations[Names.FROM_HOST_ANNOTATION] ?? null) === record
  const changes = { ...ofAnnotations.patch, ...(isKnown ? {} : { [Names.FROM_HOST_ANNOTATION]: record }), ...more }
  return {
    ...(isEmpty(ofLabels.patch) ? {} : { labels: ofLabels.patch }),
    ...(isEmpty(changes) ? {} : { annotations: changes })
  }
}

/**
 * The same on the Machine, from where Cluster API takes some of them on to the Node (k0smotron #1288). A lost write is no
 * harm. `host`: undefined when it was given back.
 */
export const labelOwner = (kube: KubeClientShape, machine: RemoteMachine, host: PooledRemoteMachine | undefined) =>
  Effect.gen(function* () {
    const owner = machine.metadata.ownerReferences?.find((one) => one.kind === "Machine")
    const givesNothing =
      host !== undefined &&
      inherited(host.metadata.labels) === undefined &&
      inherited(host.metadata.annotations) === undefined
    if (owner === undefined || givesNothing) return
    const ref = { namespace: machine.metadata.namespace ?? "", name: owner.name }
    const object = yield* kube.get(Machines, ref)
    const metadata = handedOver(object, host)
    if (isEmpty(metadata)) return
    const { uid, resourceVersion } = object.metadata
    yield* kube.patch(Machines, ref, { metadata }, { uid, resourceVersion })
  }).pipe(
    Effect.retry({ times: OWNER_RETRIES, while: (error) => error.reason === "Conflict" }),
    Effect.catch((error) => Effect.logDebug("labels of the host did not reach the Machine", error.message))
  )
