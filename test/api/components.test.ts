/**
 * Holds the generated installation files to what clusterctl and CAPI ask of a provider: one Namespace, everything
 * namespaced in it, everything labelled, a container `manager` that may do nothing but run, variables with defaults, and
 * no text that clusterctl would take for a variable.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { parseAllDocuments } from "yaml"
import packageJson from "../../package.json" with { type: "json" }
import { installationFiles } from "../../src/api/install/Components.ts"
import { GROUPS, type Half, isAllowed, OUR_RESOURCES, RULES } from "../../src/api/install/Rbac.ts"
import { ourKinds } from "../../src/api/OurKinds.ts"

const files = installationFiles(packageJson.version)
const HALVES: ReadonlyArray<Half> = ["infrastructure", "bootstrap"]

const Manifest = Schema.Struct({
  kind: Schema.String,
  metadata: Schema.Struct({
    name: Schema.String,
    namespace: Schema.optionalKey(Schema.String),
    labels: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
  }),
  subjects: Schema.optionalKey(Schema.Array(Schema.Struct({ name: Schema.String, namespace: Schema.String })))
})

const Deployment = Schema.Struct({
  spec: Schema.Struct({
    template: Schema.Struct({
      spec: Schema.Struct({
        serviceAccountName: Schema.String,
        securityContext: Schema.Struct({
          runAsNonRoot: Schema.Boolean,
          seccompProfile: Schema.Struct({ type: Schema.String })
        }),
        containers: Schema.Array(
          Schema.Struct({
            name: Schema.String,
            image: Schema.String,
            args: Schema.Array(Schema.String),
            env: Schema.Array(Schema.Struct({ name: Schema.String, value: Schema.optionalKey(Schema.String) })),
            securityContext: Schema.Struct({
              allowPrivilegeEscalation: Schema.Boolean,
              readOnlyRootFilesystem: Schema.Boolean,
              capabilities: Schema.Struct({ drop: Schema.Array(Schema.String) })
            })
          })
        )
      })
    })
  })
})

/** clusterctl's simple processor, for variables that nobody set. */
const substituted = (text: string): string =>
  text.replaceAll(/\$\$|\$\{(\w+):=([^}]*)\}/g, (match, _name, fallback: string) => (match === "$$" ? "$" : fallback))

const NAMESPACED = new Set(["ServiceAccount", "Role", "RoleBinding", "Deployment"])

const parsed = (text: string): ReadonlyArray<unknown> =>
  parseAllDocuments(text, { version: "1.1" }).map((document) => document.toJS())

const manifests = (file: string) =>
  Effect.forEach(parsed(substituted(files[file] ?? "")), (one) => Schema.decodeUnknownEffect(Manifest)(one))

const provider = (half: Half): string => `${half}-machinist`

describe.each(HALVES)("%s-components.yaml", (half) => {
  const file = `${half}-components.yaml`

  it.effect("has one Namespace, and everything namespaced is in it", () =>
    Effect.gen(function* () {
      const all = yield* manifests(file)
      const namespaces = all.filter(({ kind }) => kind === "Namespace")
      assert.lengthOf(namespaces, 1)
      const [namespace] = namespaces
      for (const { kind, metadata, subjects } of all) {
        const wanted = NAMESPACED.has(kind) ? namespace?.metadata.name : undefined
        assert.strictEqual(metadata.namespace, wanted, `${kind} ${metadata.name}`)
        for (const subject of subjects ?? []) assert.strictEqual(subject.namespace, namespace?.metadata.name)
      }
    })
  )

  it.effect("labels every object as this provider's, and has its CRDs and no others", () =>
    Effect.gen(function* () {
      const all = yield* manifests(file)
      for (const { kind, metadata } of all)
        assert.strictEqual(
          metadata.labels?.["cluster.x-k8s.io/provider"],
          provider(half),
          `${kind} ${metadata.name} is labelled`
        )
      const crds = all.filter(({ kind }) => kind === "CustomResourceDefinition").map(({ metadata }) => metadata.name)
      const ours = ourKinds.filter(({ group }) => group === GROUPS[half])
      assert.sameMembers(
        crds,
        ours.map(({ plural, group }) => `${plural}.${group}`)
      )
    })
  )

  it.effect("runs a container named manager without any privilege, with its half of the provider", () =>
    Effect.gen(function* () {
      const found = parsed(substituted(files[file] ?? "")).at(-1)
      const { spec } = (yield* Schema.decodeUnknownEffect(Deployment)(found)).spec.template
      assert.isTrue(spec.securityContext.runAsNonRoot)
      assert.strictEqual(spec.securityContext.seccompProfile.type, "RuntimeDefault")
      const [container, ...others] = spec.containers
      assert.lengthOf(others, 0)
      assert.strictEqual(container?.name, "manager")
      assert.deepStrictEqual(container?.securityContext, {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] }
      })
      assert.includeMembers(
        [...(container?.args ?? [])],
        [
          "controller",
          `--providers=${half}`,
          "--leader-elect",
          "--namespace=$(MACHINIST_NAMESPACE)",
          "--watch-filter=$(MACHINIST_WATCH_FILTER)",
          "--diagnostics-address=:8443",
          "--insecure-diagnostics=false"
        ]
      )
      const values = container?.env.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]]))
      assert.deepStrictEqual(values, [
        ["MACHINIST_NAMESPACE", ""],
        ["MACHINIST_WATCH_FILTER", ""]
      ])
      assert.strictEqual(container?.image, `docker.io/library/machinist:${packageJson.version}`)
    })
  )

  it("has only variables with defaults, all below one prefix, and nothing that looks like another", () => {
    const text = files[file] ?? ""
    const dollars = [...text.matchAll(/\$\$|\$\{[^}]*\}/g)].map(([match]) => match)
    const names = dollars.filter((one) => one !== "$$")
    assert.isAbove(names.length, 3)
    for (const name of names) assert.match(name, /^\$\{MACHINIST_[A-Z_]+:=[^}]+\}$/)
  })

  it("has rules for every kind of its own, and changes none of the other half's", () => {
    const other = half === "bootstrap" ? "infrastructure" : "bootstrap"
    for (const resource of OUR_RESOURCES[half]) {
      assert.isTrue(isAllowed(RULES[half], { group: GROUPS[half], resource, verb: "watch" }))
      assert.isTrue(isAllowed(RULES[half], { group: GROUPS[half], resource: `${resource}/status`, verb: "patch" }))
      assert.isFalse(isAllowed(RULES[half], { group: GROUPS[half], resource, verb: "delete" }))
      assert.isFalse(isAllowed(RULES[other], { group: GROUPS[half], resource, verb: "patch" }))
    }
    const actors = ourKinds.filter(({ plural }) => !plural.endsWith("templates"))
    assert.sameMembers(
      [...OUR_RESOURCES[half]],
      actors.filter(({ group }) => group === GROUPS[half]).map(({ plural }) => plural)
    )
  })
})

describe("install.yaml", () => {
  it("is for kubectl alone: no variables", () => {
    assert.notMatch(files["install.yaml"] ?? "", /\$\{/)
  })
})

describe("metadata.yaml", () => {
  it("names the series of this version", () => {
    const [major, minor] = packageJson.version.split(".").map(Number)
    assert.deepStrictEqual(parsed(files["metadata.yaml"] ?? ""), [
      {
        apiVersion: "clusterctl.cluster.x-k8s.io/v1alpha3",
        kind: "Metadata",
        releaseSeries: [{ major, minor, contract: "v1beta2" }]
      }
    ])
  })
})
