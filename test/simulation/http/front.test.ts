/**
 * The HTTPS front as a client sees it: who gets in, discovery, forms of answers, refusals in a real server's words,
 * watches and their end. Expectations are what kube-apiserver v1.34 answers.
 */
import { connect } from "node:tls"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { type Answer, type Ask, type Fronted, fronted } from "./Fronted.ts"
import { widgetDefinition } from "./Widgets.ts"

const TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
const WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
const CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"

const widget = (name: string, spec: object = {}) => ({
  apiVersion: "example.com/v1",
  kind: "Widget",
  metadata: { name },
  spec
})
const configMap = (name: string, data: object = {}) => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name },
  data
})

const withFront = <A, E>(use: (world: Fronted) => Effect.Effect<A, E>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const world = yield* fronted()
      yield* world.server.apply(widgetDefinition)
      return yield* use(world)
    })
  )

/** Answers of one request each, as code and message. */
const told = (answer: Answer): string =>
  `${answer.code} ${answer.body?.reason ?? ""}: ${answer.body?.message ?? answer.text}`

const refusals = (cases: ReadonlyArray<readonly [string, Ask, string]>) =>
  withFront(({ ask }) =>
    Effect.forEach(cases, ([path, options, expected]) =>
      Effect.map(ask(path, options), (answer) => assert.strictEqual(told(answer), expected, path))
    )
  )

describe("who gets in", () => {
  it.live("the token is needed for everything but health and version", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        for (const path of ["/api", "/apis", CONFIG_MAPS, "/openapi/v3", "/nothing"]) {
          assert.strictEqual((yield* ask(path, { token: null })).code, 401, path)
          assert.strictEqual((yield* ask(path, { token: "wrong" })).code, 401, path)
        }
        for (const path of ["/readyz", "/livez", "/healthz"]) {
          assert.strictEqual((yield* ask(path, { token: null })).text, "ok")
          assert.strictEqual((yield* ask(path, { token: "wrong" })).code, 401)
        }
        assert.strictEqual((yield* ask("/version", { token: null })).body.major, "1")
        const refused = yield* ask("/api", { token: null })
        assert.deepInclude(refused.body, { kind: "Status", status: "Failure", reason: "Unauthorized", code: 401 })
      })
    )
  )
  it.live("the certificate is for loopback, signed by the authority of the kubeconfig", () =>
    withFront(({ front }) =>
      Effect.callback<void>((resume) => {
        const socket = connect({ host: "127.0.0.1", port: front.port, ca: front.caPem }, () => {
          assert.isTrue(socket.authorized)
          assert.strictEqual(socket.getPeerCertificate().subjectaltname, "IP Address:127.0.0.1")
          socket.destroy()
          resume(Effect.void)
        })
      })
    )
  )
  it.live("everything is allowed to who is in", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        const review = yield* ask("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {
          body: {
            kind: "SelfSubjectAccessReview",
            apiVersion: "authorization.k8s.io/v1",
            spec: { resourceAttributes: {} }
          }
        })
        assert.strictEqual(review.code, 201)
        assert.isTrue(review.body.status.allowed)
        const who = yield* ask("/apis/authentication.k8s.io/v1/selfsubjectreviews", {
          body: { kind: "SelfSubjectReview", apiVersion: "authentication.k8s.io/v1" }
        })
        assert.strictEqual(who.body.status.userInfo.username, "admin")
      })
    )
  )
})

describe("discovery", () => {
  it.live("aggregated and one by one, both say the same", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        const accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
        const all = yield* ask("/apis", { accept })
        assert.include(String(all.headers["content-type"]), "as=APIGroupDiscoveryList")
        const group = all.body.items.find(
          (item: { metadata: { name: string } }) => item.metadata.name === "example.com"
        )
        const [resource] = group.versions[0].resources
        assert.deepInclude(resource, {
          resource: "widgets",
          scope: "Namespaced",
          singularResource: "widget",
          shortNames: ["wd"]
        })
        assert.deepStrictEqual(
          resource.subresources.map((each: { subresource: string }) => each.subresource),
          ["status", "scale"]
        )
        const list = yield* ask("/apis/example.com/v1")
        assert.deepStrictEqual(
          list.body.resources.map((each: { name: string; kind: string }) => `${each.name} ${each.kind}`),
          ["widgets Widget", "widgets/status Widget", "widgets/scale Scale"]
        )
        assert.strictEqual((yield* ask("/apis/example.com")).body.preferredVersion.version, "v1")
        assert.deepStrictEqual((yield* ask("/api")).body.versions, ["v1"])
        assert.strictEqual((yield* ask("/apis/nothing.io")).text, "404 page not found\n")
      })
    )
  )
  it.live("a definition that comes or goes shows at once, in discovery and OpenAPI", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        const before = (yield* ask("/openapi/v3")).body.paths["apis/example.com/v1"].serverRelativeURL
        const document = yield* ask(before)
        const schema = document.body.components.schemas["com.example.v1.Widget"]
        assert.strictEqual(schema.properties.spec.properties.size.description, "How big.")
        assert.deepStrictEqual(schema["x-kubernetes-group-version-kind"], [
          { group: "example.com", version: "v1", kind: "Widget" }
        ])
        assert.property(document.body.components.schemas, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
        const patch = document.body.paths["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"].patch
        assert.includeMembers(
          patch.parameters.map((each: { name: string }) => each.name),
          ["dryRun", "fieldManager", "fieldValidation", "force"]
        )
        yield* ask("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com", {
          method: "PATCH",
          contentType: "application/merge-patch+json",
          body: { spec: { versions: [{ ...widgetDefinition.spec.versions[0], additionalPrinterColumns: [] }] } }
        })
        yield* ask("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com", { method: "DELETE" })
        for (let tries = 0; tries < 100 && (yield* ask("/apis/example.com")).code !== 404; tries++)
          yield* Effect.yieldNow
        assert.strictEqual((yield* ask("/apis/example.com")).code, 404)
        assert.strictEqual((yield* ask(WIDGETS)).text, "404 page not found\n")
      })
    )
  )
})

describe("what is refused, in a real server's words", () => {
  it.live("addresses and methods", () =>
    refusals([
      ["/foo", {}, "404 : 404 page not found\n"],
      ["/api/v1/nothings", {}, "404 NotFound: the server could not find the requested resource"],
      [
        "/api/v1/secrets",
        { body: {} },
        "405 MethodNotAllowed: the server does not allow this method on the requested resource"
      ],
      [
        "/api/v1/namespaces",
        { method: "DELETE" },
        "405 MethodNotAllowed: the server does not allow this method on the requested resource"
      ],
      [`${WIDGETS}/nope`, {}, '404 NotFound: widgets.example.com "nope" not found'],
      [`${WIDGETS}/nope/foo`, {}, '404 NotFound: widgets.example.com "nope" not found'],
      ["/api/v1/namespaces/default/pods/x/../../secrets", {}, "404 : 404 page not found\n"],
      [
        "/api/v1/namespaces/default",
        { method: "DELETE" },
        '403 Forbidden: namespaces "default" is forbidden: this namespace may not be deleted'
      ]
    ])
  )
  it.live("bodies", () =>
    refusals([
      [
        CONFIG_MAPS,
        { body: '{"a":1', contentType: "text/plain" },
        "415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
      ],
      [
        WIDGETS,
        { body: { metadata: { name: "a" } } },
        `400 BadRequest: the object provided is unrecognized (must be of type Widget): Object 'Kind' is missing in '{"metadata":{"name":"a"}}' ({"metadata":{"name":"a"}})`
      ],
      [
        WIDGETS,
        { body: { ...widget("a"), kind: "Foo" } },
        '422 Invalid: Foo.example.com "a" is invalid: kind: Invalid value: "Foo": must be Widget'
      ],
      [
        `${WIDGETS}?fieldValidation=Strict`,
        { body: { ...widget("a", { foo: 1, plain: [{ b: 2 }] }), zz: 1, metadata: { name: "a", bar: 1 } } },
        '400 BadRequest: Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "metadata.bar", unknown field "spec.foo", unknown field "spec.plain[0].b", unknown field "zz"'
      ],
      [
        `${CONFIG_MAPS}?fieldValidation=Strict`,
        { body: { ...configMap("m"), foo: 1 } },
        '400 BadRequest: ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "foo"'
      ],
      [
        `${WIDGETS}?dryRun=x`,
        { body: {} },
        '422 Invalid: CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: "x": supported values: "All"'
      ],
      [
        `${CONFIG_MAPS}`,
        { body: "x".repeat(3 * 1024 * 1024 + 1) },
        "413 RequestEntityTooLarge: Request entity too large: limit is 3145728"
      ]
    ])
  )
  it.live("options of lists and watches", () =>
    refusals([
      [`${CONFIG_MAPS}?limit=x`, {}, '400 BadRequest: strconv.ParseInt: parsing "x": invalid syntax'],
      [
        `${CONFIG_MAPS}?resourceVersionMatch=Exact`,
        {},
        '422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided'
      ],
      [
        `${CONFIG_MAPS}?resourceVersion=1&resourceVersionMatch=Foo`,
        {},
        '422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "Foo": supported values: "Exact", "NotOlderThan", ""'
      ],
      [
        `${CONFIG_MAPS}?resourceVersion=1&resourceVersionMatch=Exact`,
        {},
        "410 Expired: The resourceVersion for the provided list is too old."
      ],
      [
        `${CONFIG_MAPS}?watch=1&sendInitialEvents=true`,
        {},
        '422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan'
      ],
      [
        `${CONFIG_MAPS}?watch=1&resourceVersionMatch=NotOlderThan`,
        {},
        '422 Invalid: ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided'
      ],
      [`${WIDGETS}?watch=1&fieldSelector=spec.x%3Da`, {}, "400 BadRequest: field label not supported: spec.x"],
      [
        `${CONFIG_MAPS}?resourceVersion=abc`,
        {},
        '400 BadRequest: invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax'
      ],
      [`${CONFIG_MAPS}?continue=abc`, {}, "400 BadRequest: invalid continue token: continue key is not valid"]
    ])
  )
  it.live("a resourceVersion of the future says when to come again", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        const answer = yield* ask(`${CONFIG_MAPS}?resourceVersion=99999999`)
        assert.strictEqual(answer.code, 504)
        assert.strictEqual(answer.headers["retry-after"], "1")
        assert.strictEqual(answer.body.details.causes[0].reason, "ResourceVersionTooLarge")
      })
    )
  )
})

describe("forms of answers", () => {
  it.live("a Table for people, metadata alone, YAML, and 406 for what there is not", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        yield* ask(WIDGETS, { body: widget("one", { size: 4, tags: { a: "b" } }) })
        const table = (yield* ask(WIDGETS, { accept: TABLE })).body
        assert.strictEqual(table.kind, "Table")
        assert.deepStrictEqual(
          table.columnDefinitions.map((each: { name: string; priority: number }) => `${each.name} ${each.priority}`),
          ["Name 0", "Size 0", "Ready 0", "Age 0", "Tags 1"]
        )
        const [row] = table.rows
        assert.deepStrictEqual([row.cells[0], row.cells[1], row.cells[2], row.cells[4]], ["one", 4, null, '{"a":"b"}'])
        assert.strictEqual(row.object.kind, "PartialObjectMetadata")
        const whole = (yield* ask(`${WIDGETS}/one?includeObject=Object`, { accept: TABLE })).body
        assert.strictEqual(whole.rows[0].object.spec.size, 4)
        const partial = (yield* ask(WIDGETS, {
          accept: "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        })).body
        assert.deepStrictEqual(Object.keys(partial.items[0]).toSorted(), ["apiVersion", "kind", "metadata"])
        const yaml = yield* ask(`${WIDGETS}/one`, { accept: "application/yaml" })
        assert.strictEqual(yaml.headers["content-type"], "application/yaml")
        assert.include(yaml.text, "  size: 4\n")
        assert.strictEqual((yield* ask(WIDGETS, { accept: "application/vnd.kubernetes.protobuf" })).code, 406)
        assert.strictEqual(
          (yield* ask(WIDGETS, { accept: "application/vnd.kubernetes.protobuf,application/json" })).code,
          200
        )
        assert.include((yield* ask(`${WIDGETS}/one?pretty=true`)).text, '\n  "spec": {')
      })
    )
  )
  it.live("lists come in pages of one moment", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        for (const name of ["a", "b", "c"]) yield* ask(WIDGETS, { body: widget(name) })
        const first = (yield* ask(`${WIDGETS}?limit=2`)).body
        assert.strictEqual(first.metadata.remainingItemCount, 1)
        yield* ask(`${WIDGETS}/c`, { method: "DELETE" })
        const second = (yield* ask(`${WIDGETS}?limit=2&continue=${first.metadata.continue}`)).body
        assert.deepStrictEqual(
          [...first.items, ...second.items].map((each) => each.metadata.name),
          ["a", "b", "c"]
        )
        assert.strictEqual(second.metadata.resourceVersion, first.metadata.resourceVersion)
        assert.isUndefined(second.metadata.continue)
        assert.notProperty((yield* ask(`${WIDGETS}?limit=1&labelSelector=!x`)).body.metadata, "remainingItemCount")
      })
    )
  )
  it.live("unknown fields are warned of, and dropped, also from built-in kinds", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        const created = yield* ask(CONFIG_MAPS, { body: { ...configMap("m", { a: "b" }), foo: 1 } })
        assert.strictEqual(created.code, 201)
        assert.strictEqual(created.headers["warning"], '299 - "unknown field \\"foo\\""')
        assert.notProperty(created.body, "foo")
        const quiet = yield* ask(`${CONFIG_MAPS}/m?fieldValidation=Ignore`, {
          method: "PATCH",
          contentType: "application/merge-patch+json",
          body: { foo: 1 }
        })
        assert.isUndefined(quiet.headers["warning"])
        assert.notProperty(quiet.body, "foo")
      })
    )
  )
})

describe("writes", () => {
  it.live("a dry run answers as if, and stores nothing", () =>
    withFront(({ ask, server }) =>
      Effect.gen(function* () {
        const created = yield* ask(`${WIDGETS}?dryRun=All`, { body: widget("dry") })
        assert.strictEqual(created.code, 201)
        assert.strictEqual(created.body.spec.size, 3)
        assert.strictEqual(created.body.metadata.resourceVersion ?? "", "")
        assert.strictEqual((yield* ask(`${WIDGETS}/dry`)).code, 404)
        yield* ask(WIDGETS, { body: widget("wet") })
        const gone = yield* ask(`${WIDGETS}/wet?dryRun=All`, { method: "DELETE" })
        assert.strictEqual(gone.body.status, "Success")
        assert.strictEqual((yield* ask(`${WIDGETS}/wet`)).code, 200)
        assert.isAbove(server.writes().length, 0)
      })
    )
  )
  it.live("a deletion answers Success when it is done, else the object that waits", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        const held = { ...widget("held"), metadata: { name: "held", finalizers: ["a.b/c"] } }
        yield* ask(WIDGETS, { body: held })
        const waiting = yield* ask(`${WIDGETS}/held`, { method: "DELETE" })
        assert.property(waiting.body.metadata, "deletionTimestamp")
        const freed = yield* ask(`${WIDGETS}/held`, {
          method: "PATCH",
          contentType: "application/merge-patch+json",
          body: { metadata: { finalizers: null } }
        })
        assert.strictEqual(freed.code, 200)
        yield* ask(WIDGETS, { body: widget("free") })
        const wrong = yield* ask(`${WIDGETS}/free`, {
          method: "DELETE",
          body: { kind: "DeleteOptions", apiVersion: "v1", preconditions: { uid: "x" } }
        })
        assert.strictEqual(wrong.code, 409)
        const policy = yield* ask(`${WIDGETS}/free?propagationPolicy=Foo`, { method: "DELETE" })
        assert.include(told(policy), '422 Invalid: DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy')
        const done = yield* ask(`${WIDGETS}/free`, { method: "DELETE" })
        assert.deepInclude(done.body, { kind: "Status", status: "Success" })
        assert.deepInclude(done.body.details, { name: "free", group: "example.com", kind: "widgets" })
      })
    )
  )
  it.live("a collection is deleted by its selector", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        for (const name of ["a", "b"]) {
          yield* ask(WIDGETS, { body: { ...widget(name), metadata: { name, labels: { own: name } } } })
        }
        const gone = yield* ask(`${WIDGETS}?labelSelector=own%3Da`, { method: "DELETE" })
        assert.deepStrictEqual(
          gone.body.items.map((each: { metadata: { name: string } }) => each.metadata.name),
          ["a"]
        )
        assert.deepStrictEqual(
          (yield* ask(WIDGETS)).body.items.map((each: { metadata: { name: string } }) => each.metadata.name),
          ["b"]
        )
      })
    )
  )
  it.live("the scale of a custom kind", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        yield* ask(WIDGETS, { body: widget("one", { replicas: 4 }) })
        assert.deepInclude((yield* ask(`${WIDGETS}/one/scale`)).body, { kind: "Scale", spec: { replicas: 4 } })
        const patched = yield* ask(`${WIDGETS}/one/scale`, {
          method: "PATCH",
          contentType: "application/merge-patch+json",
          body: { spec: { replicas: 7 } }
        })
        assert.strictEqual(patched.body.spec.replicas, 7)
        const put = { kind: "Scale", apiVersion: "autoscaling/v1", metadata: { name: "one" } }
        assert.strictEqual(
          told(yield* ask(`${WIDGETS}/one/scale`, { method: "PUT", body: { ...put, spec: { replicas: -8 } } })),
          '422 Invalid: Widget.example.com "one" is invalid: .spec.replicas: Invalid value: -8: should be a non-negative integer'
        )
        const stale = { ...put, metadata: { name: "one", resourceVersion: "1" }, spec: { replicas: 1 } }
        assert.strictEqual((yield* ask(`${WIDGETS}/one/scale`, { method: "PUT", body: stale })).code, 409)
        assert.strictEqual((yield* ask(`${WIDGETS}/one`)).body.spec.replicas, 7)
      })
    )
  )
})

const lines = (text: string): ReadonlyArray<{ type: string; object: Answer["body"] }> =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line))

describe("watches", () => {
  it.live("one JSON line an event; a timeout ends it", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        yield* ask(WIDGETS, { body: widget("one") })
        const answer = yield* ask(`${WIDGETS}?watch=1&timeoutSeconds=1`)
        const [first] = lines(answer.text)
        assert.strictEqual(first?.type, "ADDED")
        assert.strictEqual(first?.object.metadata.name, "one")
      })
    )
  )
  it.live("a list and a watch in one: what there is, then a bookmark that says so", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        yield* ask(WIDGETS, { body: widget("one") })
        const query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        const seen = lines((yield* ask(`${WIDGETS}?${query}&timeoutSeconds=1`)).text)
        assert.deepStrictEqual(
          seen.map((event) => event.type),
          ["ADDED", "BOOKMARK"]
        )
        assert.strictEqual(seen[1]?.object.metadata.annotations["k8s.io/initial-events-end"], "true")
        assert.strictEqual(seen[1]?.object.kind, "Widget")
      })
    )
  )
  it.live("as Tables, with the columns told once", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        for (const name of ["a", "b"]) yield* ask(WIDGETS, { body: widget(name) })
        const seen = lines((yield* ask(`${WIDGETS}?watch=1&timeoutSeconds=1`, { accept: TABLE })).text)
        assert.deepStrictEqual(
          seen.map(
            (event) =>
              `${event.object.kind} ${event.object.columnDefinitions.length > 0} ${event.object.rows[0].cells[0]}`
          ),
          ["Table true a", "Table false b"]
        )
      })
    )
  )
  it.live("from a forgotten moment: an ERROR line with 410", () =>
    withFront(({ ask, server }) =>
      Effect.gen(function* () {
        yield* ask(WIDGETS, { body: widget("one") })
        yield* server.compact
        const [only] = lines((yield* ask(`${WIDGETS}?watch=1&resourceVersion=2`)).text)
        assert.strictEqual(only?.type, "ERROR")
        assert.deepInclude(only?.object, { kind: "Status", code: 410, reason: "Expired" })
      })
    )
  )
  it.live("a client that leaves is forgotten; the end of the server ends every watch", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { ask, server } = yield* fronted().pipe(Scope.provide(scope))
      const until = (open: number) =>
        Effect.gen(function* () {
          while (server.watches.open !== open) yield* Effect.sleep("1 millis")
        })
      const leaving = yield* Effect.forkChild(ask(`${CONFIG_MAPS}?watch=1`))
      yield* until(1)
      leaving.interruptUnsafe()
      yield* until(0)
      const staying = yield* Effect.forkChild(ask("/api/v1/secrets?watch=1"))
      yield* until(1)
      yield* Scope.close(scope, Exit.void)
      // The system's own Secrets are none, so nothing was sent: but it ended, and not by a broken socket.
      const answer = yield* Fiber.join(staying)
      assert.strictEqual(answer.code, 200)
      assert.strictEqual(answer.text, "")
    })
  )
})
