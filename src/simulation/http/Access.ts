/**
 * Owns who may do what at a front: the bearer of the one token may do everything; behind a workload cluster's front also
 * the bearers of its bootstrap tokens, who may do what a kubelet needs and nothing else. Does not own the tokens' Secrets,
 * nor sockets (HttpsFront.ts).
 */
import { createHash, timingSafeEqual } from "node:crypto"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { Secrets, secretData, secretText } from "../../api/Core.ts"
import { TOKEN_NAMESPACE, tokenSecretName } from "../../domain/JoinToken.ts"
import type { KubeClientShape } from "../../kube/KubeClient.ts"
import { ApiStatus } from "../apiserver/Status.ts"
import { type JoinUsage, judgeToken } from "../core/TokenJudge.ts"
import type { Reply } from "./Reply.ts"
import type { ApiRequest } from "./Request.ts"
import { routeOf } from "./Route.ts"

export interface Bearer {
  /** Undefined: it may. */
  readonly refusal: (request: ApiRequest) => ApiStatus | undefined
  /** Once a request of its was answered. */
  readonly answered: (request: ApiRequest, reply: Reply) => Effect.Effect<void>
}

/** Undefined: nobody with this token is known. */
export type Authenticate = (token: string) => Effect.Effect<Bearer | undefined>

const digest = (text: string): Buffer => createHash("sha256").update(text).digest()

const everything: Bearer = { refusal: () => undefined, answered: () => Effect.void }

/** Whoever has the token may do everything. */
export const oneToken = (token: string): Authenticate => {
  const expected = digest(token)
  return (given) => Effect.sync(() => (timingSafeEqual(digest(given), expected) ? everything : undefined))
}

export const bearerOf = (authorization: string | undefined): string | undefined =>
  authorization === undefined ? undefined : /^bearer\s+(\S+)\s*$/i.exec(authorization)?.[1]

const READ = ["GET", "HEAD"]
const WRITE = [...READ, "POST", "PUT", "PATCH"]

/** What a kubelet asks for, by resource. No Secrets: a host shall not read other hosts' tokens. */
const KUBELET: ReadonlyMap<string, ReadonlyArray<string>> = new Map([
  ["nodes", WRITE],
  ["events", ["POST", "PATCH"]],
  ["leases", WRITE],
  ["configmaps", READ],
  ["services", READ],
  ["endpoints", READ],
  ["selfsubjectaccessreviews", ["POST"]],
  ["selfsubjectreviews", ["POST"]]
])

const kubeletRefusal =
  (name: string) =>
  ({ method, path }: ApiRequest): ApiStatus | undefined => {
    const route = routeOf(path)
    if (route._tag !== "Resource") return undefined
    if (KUBELET.get(route.plural)?.includes(method) === true) return undefined
    return new ApiStatus({
      code: 403,
      reason: "Forbidden",
      message: `${route.plural}${route.group === "" ? "" : `.${route.group}`} is forbidden: User "${name}" may only do what a kubelet needs`,
      details: { kind: route.plural, group: route.group, ...(route.name === undefined ? {} : { name: route.name }) }
    })
  }

const TOKEN = /^([a-z0-9]{6})\.([a-z0-9]{16})$/
const USAGE: JoinUsage = "usage-bootstrap-authentication"
/** A kubelet that was let in once, by its token: the token may be revoked, the kubelet stays. */
const kubeletSecretName = (id: string): string => `kubelet-${id}`
const HASH = "sha256"

const secretNamed = (kube: KubeClientShape, name: string) =>
  kube.get(Secrets, { namespace: TOKEN_NAMESPACE, name }).pipe(
    Effect.catchIf(
      (error) => error.reason === "NotFound",
      () => Effect.succeed(undefined)
    )
  )

const madeNode = (request: ApiRequest, reply: Reply): boolean => {
  if (request.method !== "POST" || !("code" in reply) || reply.code !== 201) return false
  const route = routeOf(request.path)
  return route._tag === "Resource" && route.plural === "nodes" && route.name === undefined
}

/**
 * The bootstrap tokens of a cluster, each for as long as its Secret allows. A kubelet trades its own for a certificate; a
 * stand-in keeps it instead, so whoever made its Node with a token may come again with it.
 */
export const bootstrapTokens =
  (kube: KubeClientShape): Authenticate =>
  (given) =>
    Effect.gen(function* () {
      const [, id, secret] = TOKEN.exec(given) ?? []
      if (id === undefined || secret === undefined) return undefined
      const hash = digest(given).toString("hex")
      const known = yield* secretNamed(kube, kubeletSecretName(id))
      const isKnown = known !== undefined && secretText(known, HASH) === hash
      const bearer: Bearer = {
        refusal: kubeletRefusal(isKnown ? `system:node:${id}` : `system:bootstrap:${id}`),
        answered: (request, reply) =>
          !isKnown && madeNode(request, reply)
            ? kube
                .create(Secrets, {
                  metadata: { namespace: TOKEN_NAMESPACE, name: kubeletSecretName(id) },
                  data: secretData({ [HASH]: hash })
                })
                .pipe(Effect.ignore)
            : Effect.void
      }
      if (isKnown) return bearer
      const found = yield* secretNamed(kube, tokenSecretName(id))
      if (found === undefined) return undefined
      const why = judgeToken(found, { id, secret }, USAGE, yield* Clock.currentTimeMillis)
      return why === undefined ? bearer : undefined
    }).pipe(Effect.catch(() => Effect.succeed(undefined)))

/** The first that knows the token. */
export const anyOf =
  (...all: ReadonlyArray<Authenticate>): Authenticate =>
  (token) =>
    Effect.gen(function* () {
      for (const one of all) {
        const bearer = yield* one(token)
        if (bearer !== undefined) return bearer
      }
      return undefined
    })
