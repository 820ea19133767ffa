/**
 * Holds `machinist render`: what the provider would write, offline, for objects that refer to others; placeholders that are told; errors that name file, object and field, and never a value.
 */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { parseAllDocuments } from "yaml"
import { ignitionContents } from "../../src/domain/bootstrap/Ignition.ts"
import { parseCloudConfig } from "../../src/domain/CloudConfig.ts"
import { decodeJoinToken, encodeJoinToken } from "../../src/domain/JoinToken.ts"
import { ran, test } from "../support/rendering.ts"

const TOKEN = "abcdef.0123456789abcdef"

/** Of YAML that a test writes. */
const rendered = Effect.fnUntraced(function* (yaml: string, ...args: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped()
  yield* fs.writeFileString(`${directory}/in.yaml`, yaml)
  const result = yield* ran("--f", `${directory}/in.yaml`, ...args)
  return { ...result, error: result.error?.replaceAll(`${directory}/`, "") }
})

const config = (spec: string, kind = "K0sWorkerConfig"): string =>
  `apiVersion: bootstrap.cluster.x-k8s.io/v1beta1\nkind: ${kind}\nmetadata: {name: w}\nspec: ${spec}\n`

const CLUSTER = `---
apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata: {name: c1}
spec: {controlPlaneEndpoint: {host: 10.0.0.9, port: 6443}}
---
apiVersion: v1
kind: Secret
metadata: {name: c1-ca}
stringData: {tls.crt: "THE CA", tls.key: "s3cret"}
---
apiVersion: cluster.x-k8s.io/v1beta2
kind: Machine
metadata: {name: m1}
spec:
  clusterName: c1
  version: v1.30.0
  bootstrap: {configRef: {apiGroup: bootstrap.cluster.x-k8s.io, kind: K0sWorkerConfig, name: w}}
`

const tokenIn = (data: string) => {
  const file = Result.getOrThrow(parseCloudConfig(Buffer.from(data))).files.find(({ path }) =>
    path.endsWith("k0s.token")
  )
  return Result.getOrThrow(decodeJoinToken(Buffer.from(file?.content ?? []).toString()))
}

describe("what the files say", () => {
  test(
    "Machine, Cluster, certificate: nothing is left open but the token",
    Effect.gen(function* () {
      const { error, out, told } = yield* rendered(config("{}") + CLUSTER, "--token", TOKEN)
      assert.isUndefined(error)
      assert.deepStrictEqual(told, [])
      assert.deepStrictEqual(tokenIn(out), {
        server: "https://10.0.0.9:6443",
        ca: "THE CA",
        user: "kubelet-bootstrap",
        token: { id: "abcdef", secret: "0123456789abcdef" }
      })
      assert.include(out, "--labels=k0smotron.io/machine-name=m1")
      // The config says no version: the Machine's, as a k0s version.
      assert.include(out, "K0S_VERSION=v1.30.0+k0s.0")
      const without = yield* rendered(config("{}") + CLUSTER)
      assert.strictEqual(without.told.length, 1)
      assert.include(without.told[0] ?? "", "the join token is a placeholder")
      assert.strictEqual(tokenIn(without.out).token.secret, "placeholder00000")
    })
  )
  test(
    "a whole join token goes before the files",
    Effect.gen(function* () {
      const join = {
        server: "https://other:6443",
        ca: "OTHER",
        user: "kubelet-bootstrap",
        token: { id: "aaaaaa", secret: "bbbbbbbbbbbbbbbb" }
      } as const
      const { out } = yield* rendered(config("{}") + CLUSTER, "--token", encodeJoinToken(join))
      assert.deepStrictEqual(tokenIn(out), join)
      const bad = yield* rendered(config("{}"), "--token", "hush-hush")
      assert.include(bad.error ?? "", "--token takes ID.SECRET")
      assert.notInclude(bad.error ?? "", "hush-hush")
    })
  )
  test(
    "contents and user data from Secrets and ConfigMaps; --explain says which",
    Effect.gen(function* () {
      const yaml = `${config("{files: [{path: /a, contentFrom: {secretRef: {name: s, key: k}}}, {path: /b, permissions: '0600', contentFrom: {configMapRef: {name: c, key: k}}}], customUserDataRef: {configMapRef: {name: c, key: user}}, downloadURL: 'https://u:p@h/k0s'}")}---
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {k: /wD+}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {k: "größe", user: "runcmd: [echo mine]"}
`
      const { error, out } = yield* rendered(yaml, "--explain", "--token", TOKEN)
      assert.isUndefined(error)
      for (const comment of [
        "  # <- spec.files[0], from key k of Secret s\n  - path: /a",
        "  # <- spec.files[1], from key k of ConfigMap c\n  - path: /b",
        "  # <- spec.downloadURL, which carries a credential\n  - path: /etc/k0s.download",
        "# ---- part 2 of 3, text/cloud-config <- spec.customUserDataRef\n#cloud-config\nruncmd: [echo mine]",
        "  # <- Cluster API's contract: the sentinel file\n  - - /bin/sh",
        "/wD+"
      ])
        assert.include(out, comment)
    })
  )
  test(
    "templates, for the Machine that their MachineDeployment makes; --machine says another",
    Effect.gen(function* () {
      const args = ["--f", "examples/machine-deployment/machine-deployment.yaml", "--json"]
      const [made] = JSON.parse((yield* ran(...args)).out)
      assert.strictEqual(made.kind, "K0sWorkerConfigTemplate")
      assert.strictEqual(made.machine, "md-test-0")
      const [other] = JSON.parse((yield* ran(...args, "--machine", "md-test-xyz")).out)
      assert.strictEqual(other.machine, "md-test-xyz")
      assert.deepStrictEqual(
        made.steps.map((step: { readonly name: string }) => step.name),
        ["download k0s", "install k0s", "start k0s", "wait for k0s", "mark success"]
      )
    })
  )
  test(
    "a controller: the first with certificates, with --join-address one that joins",
    Effect.gen(function* () {
      const yaml =
        config("{version: v1.30.0+k0s.0, k0s: {spec: {api: {k0sApiPort: 9999}}}}", "K0sControllerConfig") + CLUSTER
      const first = yield* rendered(yaml, "--explain")
      assert.isUndefined(first.error)
      assert.include(first.out, "# <- Secret <cluster>-ca\n  - path: /var/lib/k0s/pki/ca.crt")
      assert.include(first.out, "# <- spec.k0s\n  - path: /etc/k0s.yaml")
      const joining = yield* rendered(yaml, "--join-address", "10.0.0.1", "--token", TOKEN)
      assert.strictEqual(tokenIn(joining.out).user, "controller-bootstrap")
      assert.strictEqual(tokenIn(joining.out).server, "https://10.0.0.1:9999")
    })
  )
  test(
    "--format: Ignition instead of cloud-config, and back",
    Effect.gen(function* () {
      const { out } = yield* rendered(config("{preStartCommands: [pre]}"), "--format", "ignition")
      assert.strictEqual(JSON.parse(out).ignition.version, "3.3.0")
      assert.include(
        Buffer.from(ignitionContents(Buffer.from(out)).get("/etc/machinist/bootstrap/step-1") ?? []).toString(),
        "pre\n"
      )
      const flatcar = config("{ignition: {variant: flatcar, version: 1.0.0}}")
      assert.strictEqual(JSON.parse((yield* rendered(flatcar)).out).ignition.version, "3.3.0")
      assert.include((yield* rendered(flatcar, "--format", "cloud-config")).out, "#cloud-config\n")
      assert.include(
        (yield* rendered(flatcar, "--explain")).out,
        "step 1 download k0s <- the Machine's version, else the latest"
      )
    })
  )
  test(
    "-f -: standard input",
    Effect.gen(function* () {
      const stdin = Stream.make(new TextEncoder().encode(config("{preStartCommands: [pre]}")))
      const { error, out } = yield* ran("-f", "-").pipe(Effect.provide(Stdio.layerTest({ stdin })))
      assert.isUndefined(error)
      assert.include(out, "# step: pre-start 1")
    })
  )
  test(
    "several configs, each after a line that says which; --config chooses",
    Effect.gen(function* () {
      const two = `${config("{}")}---\n${config("{}").replace("name: w", "name: other")}`
      const { out } = yield* rendered(two)
      assert.strictEqual(out.match(/^--- .*K0sWorkerConfig default\/(w|other)$/gm)?.length, 2)
      const one = yield* rendered(two, "--config", "other")
      assert.isTrue(one.out.startsWith("## template: jinja\n#cloud-config\n"))
      assert.strictEqual(parseAllDocuments(one.out).length, 1)
    })
  )
})

describe("errors name file, object and field", () => {
  const cases: ReadonlyArray<readonly [string, string, string]> = [
    ["bad YAML", "a: [hush-hush", "in.yaml: line 1 is not valid YAML"],
    ["no object", "a: hush-hush", "in.yaml: not a Kubernetes object, it lacks apiVersion or kind"],
    ["no name", "apiVersion: v1\nkind: Secret\nmetadata: {}", "in.yaml: Secret lacks metadata.name"],
    [
      "nothing to render",
      "apiVersion: v1\nkind: Secret\nmetadata: {name: s}",
      "no K0sWorkerConfig, K0sWorkerConfigTemplate"
    ],
    ["a wrong type", config("{args: hush-hush}"), "in.yaml: K0sWorkerConfig default/w: spec.args: Expected array"],
    [
      "a misspelled field",
      config("{preStartCommand: [hush-hush]}"),
      "default/w: spec.preStartCommand: there is no such field"
    ],
    ["a bad version", config("{version: v1.27.2-k0s.0}"), 'default/w: spec.version has "-k0s."'],
    [
      "both contents",
      config("{files: [{path: /a, content: hush-hush, contentFrom: {}}]}"),
      "default/w: spec.files[0] needs exactly one"
    ],
    [
      "no such Secret",
      config("{files: [{path: /a, contentFrom: {secretRef: {name: s, key: k}}}]}"),
      "default/w: spec.files[0].contentFrom: Secret default/s is not there"
    ],
    [
      "a number where YAML has quotes",
      config("{files: [{path: /a, content: x, permissions: 0644}]}"),
      "spec.files[0].permissions: Expected string | null; this is a number, so put it in quotes"
    ],
    ["a bad URL", config("{downloadURL: 'ftp://hush-hush'}"), "default/w: spec.downloadURL has a scheme (ftp)"],
    [
      "tunneling",
      config("{version: v1.30.0, tunneling: {enabled: true}}", "K0sControllerConfig"),
      "K0sControllerConfig default/w: spec.tunneling is not supported"
    ],
    [
      "the second document",
      `${config("{}")}---\n${config("{args: 1}")}`,
      "in.yaml, document 2: K0sWorkerConfig default/w: spec.args"
    ]
  ]
  for (const [name, yaml, message] of cases)
    test(
      name,
      Effect.gen(function* () {
        const { error, out } = yield* rendered(yaml)
        assert.include(error ?? "it succeeded", message)
        assert.notInclude(error ?? "", "hush-hush")
        assert.strictEqual(out, "")
      })
    )
  test(
    "a config that is not there",
    Effect.map(rendered(config("{}"), "--config", "nobody"), ({ error }) =>
      assert.strictEqual(error, "no config named nobody in the files; there is: w")
    )
  )
})
