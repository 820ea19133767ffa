/**
 * The demo keeps its promises: every YAML of the specification's pages is there as the page has it, comes true on hosts in
 * memory by the hosts' own account, and goes away again; what a person sees is what is so.
 */
import { readdirSync, readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { parseAllDocuments } from "yaml"
import { ourKinds } from "../../src/api/OurKinds.ts"
import { frameText } from "../../src/cli/demo/Screen.ts"
import type { JsonObject } from "../../src/kube/KubeClient.ts"
import { stringAt } from "../../src/simulation/apiserver/Json.ts"
import * as Engine from "../../src/simulation/demo/Engine.ts"
import { examples, POOLED, readExamples } from "../../src/simulation/demo/Examples.ts"
import { countsOf, memoryFarm } from "../../src/simulation/demo/Farm.ts"
import { managementServer } from "../../src/simulation/demo/Management.ts"
import { hostsOf, parseManifests, place } from "../../src/simulation/demo/Manifests.ts"

const all = () => Result.getOrThrow(readExamples())
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

/** Documents of a file in which the shapes of a page stand, for the tests of our kinds. */
const pageDocuments = (name: string): ReadonlyArray<JsonObject> =>
  parseAllDocuments(readFileSync(new URL(`../api/examples/${name}`, import.meta.url), "utf8"), { version: "1.1" }).map(
    (document) => JSON.parse(JSON.stringify(document.toJS()))
  )

describe("examples", () => {
  it("hold every document of both pages, word for word", () => {
    const held = all().flatMap(({ manifests }) => manifests.map(({ object }) => JSON.stringify(object)))
    for (const file of ["bootstrap.yaml", "remote-machines.yaml"])
      for (const document of pageDocuments(file))
        assert.include(held, JSON.stringify(document), `${stringAt(document, "kind")} of ${file}`)
  })

  it("say in their first line which snippet of which page they are, or that the page leaves them out", () => {
    const directory = new URL("../../examples/", import.meta.url)
    const listed = readFileSync(new URL("README.md", directory), "utf8")
    for (const { name } of all())
      for (const file of readdirSync(new URL(`${name}/`, directory))) {
        const [first = ""] = readFileSync(new URL(`${name}/${file}`, directory), "utf8").split("\n", 1)
        assert.match(first, /^# (?:Page "|What the page leaves out|A MachineDeployment)/, `${name}/${file}`)
        assert.include(listed, file === "rest.yaml" ? `\`${name}/\`` : `${name}/${file}`, `${name}/${file}`)
      }
  })

  it.effect("are admitted by the API server with our definitions, CAPI's and the stand-ins', and decode", () =>
    Effect.gen(function* () {
      const server = yield* managementServer()
      for (const example of all())
        for (const manifest of example.manifests) {
          const placed = place(manifest, { namespace: "default", address: () => undefined })
          const metadata = { name: `${example.name}-${stringAt(placed.object, "metadata", "name")}` }
          yield* server
            .apply({ ...placed.object, metadata })
            .pipe(Effect.mapError((error) => new Error(`${manifest.origin}: ${error.message}`)))
        }
      // And the provider can read them.
      const used = new Set(all().flatMap(({ manifests }) => manifests.map(({ object }) => stringAt(object, "kind"))))
      for (const kind of ourKinds) {
        const { items, undecodable } = yield* server.kubeClient.list(kind)
        assert.isUndefined(undecodable, kind.kind)
        assert.strictEqual(items.length > 0, used.has(kind.kind), kind.kind)
      }
    }).pipe(Effect.scoped)
  )

  it("are moved whole: namespaces in metadata and references, addresses and endpoints", () => {
    const example = all().find(({ name }) => name === "control-plane")
    assert.isDefined(example)
    const placed = example.manifests.map((manifest) =>
      place(manifest, {
        namespace: "elsewhere",
        address: ({ address }) => ({ address: `127.0.0.${address.split(".")[0]}`, port: 2222 })
      })
    )
    const text = JSON.stringify(placed.map(({ object }) => object))
    assert.notInclude(text, '"default","name')
    assert.notMatch(text, /"(?:1\.2\.3\.4|2\.3\.4\.5)"/)
    assert.notMatch(text, /"namespace":"default"/)
    assert.include(text, '"pool":"default"')
    assert.deepStrictEqual(
      hostsOf(placed).map(({ address, port }) => `${address}:${port}`),
      ["127.0.0.1:2222", "127.0.0.2:2222"]
    )
    assert.include(text, '"controlPlaneEndpoint":{"host":"127.0.0.1","port":6443}')
  })

  it("leave nothing to the reader when the demo applies them", () => {
    const text = JSON.stringify(Result.getOrThrow(examples()).map(({ manifests }) => plain(manifests)))
    assert.notInclude(text, "Add your custom cleanup logic here")
  })
})

describe("YAML of a user", () => {
  const message = (text: string) => {
    const parsed = parseManifests(text, "mine.yaml")
    return Result.isFailure(parsed) ? parsed.failure.message : undefined
  }
  it("is refused with file, document and reason", () => {
    assert.include(message("a: [1"), "mine.yaml, document 1")
    assert.include(
      message("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n---\nhello: world"),
      "document 2 is no Kubernetes object"
    )
    assert.include(message("apiVersion: v1\nkind: Secret"), "metadata.name is missing")
  })
  it("may be a List, and have empty documents", () => {
    const list = "---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: a}}\n"
    assert.lengthOf(Result.getOrThrow(parseManifests(list, "list.yaml")), 1)
  })
})

describe("a demo in memory", () => {
  it.live("brings every machine up, shows it, and takes everything away again", () =>
    Effect.gen(function* () {
      const demo = yield* Engine.start({ machines: 3, files: undefined, farm: (k0s) => memoryFarm(k0s) })
      yield* demo.apply
      yield* demo.ready
      const picture = demo.picture()
      const before = yield* demo.report
      assert.strictEqual(before.ready, before.machines)
      assert.strictEqual(before.running, before.machines)
      assert.lengthOf(
        picture.machines.filter(({ namespace }) => namespace === POOLED),
        3
      )
      // Every example has a machine, and that machine came true or is said not to be supported yet.
      for (const { name } of all()) {
        const machines = picture.machines.filter(({ namespace }) => namespace === name)
        assert.isAbove(machines.length, 0, name)
        for (const machine of machines) assert.isTrue(machine.running, `${name}/${machine.name}`)
      }
      const frame = frameText({
        picture,
        seconds: 1.25,
        hosts: "hosts",
        title: "Machinist",
        footer: [],
        columns: 120,
        rows: 60,
        tick: 0,
        colours: false
      })
      assert.include(frame, `${before.running}/${before.machines} machines running`)
      for (const machine of picture.machines) assert.include(frame, `${machine.namespace}/${machine.name}`)
      assert.strictEqual(countsOf(demo.farm.witness).held, before.machines - 3)

      yield* demo.remove
      const after = yield* demo.report
      assert.isTrue(Engine.isGood(after, true), JSON.stringify([after, yield* demo.objections]))
      assert.strictEqual(after.deleted, picture.machines.length)
      assert.strictEqual(countsOf(demo.farm.witness).held, 0)
    }).pipe(Effect.scoped)
  )

  it.live("says what is missing when it gets no further", () =>
    Effect.gen(function* () {
      const text = [
        "apiVersion: cluster.x-k8s.io/v1beta1\nkind: Machine\nmetadata: {name: lost}\nspec:\n  clusterName: nowhere",
        "  bootstrap: {dataSecretName: nothing}",
        "  infrastructureRef: {apiVersion: infrastructure.cluster.x-k8s.io/v1beta1, kind: RemoteMachine, name: lost}"
      ].join("\n")
      const files = Result.getOrThrow(parseManifests(text, "lost.yaml"))
      const demo = yield* Engine.start({ machines: 0, files, farm: (k0s) => memoryFarm(k0s), stalledSeconds: 1 })
      yield* demo.apply
      const error = yield* Effect.flip(demo.ready)
      assert.include(error.message, "nothing moved for 1 s")
      assert.include(error.details.join("\n"), "default/lost")
      assert.isFalse(Engine.isGood(yield* demo.report, false))
    }).pipe(Effect.scoped)
  )
})
