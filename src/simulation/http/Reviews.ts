/**
 * Owns the resources that are questions rather than objects: whether one may do something (one may do everything) and
 * who one is. Does not own authentication (HttpsFront.ts). There is no RBAC.
 */
import type { JsonObject } from "../apiserver/Json.ts"
import type { Discovered } from "./Discovered.ts"

/** Whoever holds the token. */
export const USER = { username: "admin", groups: ["system:masters", "system:authenticated"] } as const

interface Review {
  readonly group: string
  readonly version: string
  readonly resource: Discovered
  readonly answer: () => JsonObject
}

const question = (group: string, kind: string, answer: () => JsonObject): Review => ({
  group,
  version: "v1",
  resource: {
    plural: `${kind.toLowerCase()}s`,
    singular: kind.toLowerCase(),
    kind,
    namespaced: false,
    verbs: ["create"],
    shortNames: [],
    categories: [],
    subresources: []
  },
  answer
})

const allowed = (): JsonObject => ({ allowed: true, reason: "everything is allowed here" })

const everything = (): JsonObject => ({
  resourceRules: [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }],
  nonResourceRules: [{ verbs: ["*"], nonResourceURLs: ["*"] }],
  incomplete: false
})

const AUTHORIZATION = "authorization.k8s.io"

const reviews: ReadonlyArray<Review> = [
  question(AUTHORIZATION, "SelfSubjectAccessReview", allowed),
  question(AUTHORIZATION, "SelfSubjectRulesReview", everything),
  question(AUTHORIZATION, "SubjectAccessReview", allowed),
  question("authentication.k8s.io", "SelfSubjectReview", () => ({ userInfo: { ...USER, groups: [...USER.groups] } }))
]

export const reviewResources: ReadonlyArray<Pick<Review, "group" | "version" | "resource">> = reviews

export const reviewAt = (group: string, version: string, plural: string): Review | undefined =>
  reviews.find((each) => each.group === group && each.version === version && each.resource.plural === plural)

export const answerReview = (review: Review, asked: JsonObject): JsonObject => ({
  kind: review.resource.kind,
  apiVersion: `${review.group}/${review.version}`,
  metadata: {},
  ...(asked["spec"] === undefined ? {} : { spec: asked["spec"] }),
  status: review.answer()
})
