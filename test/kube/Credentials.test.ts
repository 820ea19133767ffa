/**
 * Who the live client is to a server, and how it notices a change: tokens, token files, exec plugins, certificates,
 * kubeconfig rules; and that a kubeconfig out of a Secret can't run programs or read files.
 */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { vi } from "vitest"
import type { Kind } from "../../src/api/Kind.ts"
import { type CredentialsSource, makeKubeClient } from "../../src/kube/LiveKubeClient.ts"
import { type Asked, base64, certificates, kubeconfig, serve, status, temporaryDirectory } from "./FakeServer.ts"

const Thing = Schema.Struct({ metadata: Schema.Struct({ name: Schema.String }) })
const Things: Kind<typeof Thing.Type> = {
  group: "",
  versions: ["v1"],
  kind: "Thing",
  plural: "things",
  namespaced: false,
  schema: Thing
}
const ref = { name: "a" }
const ok = { json: { metadata: { name: "a" } } }

/** Accepts one token, which the test may change. */
const guarded = (accepted: { token: string }) =>
  serve(({ headers, query }) => {
    if (headers.authorization !== `Bearer ${accepted.token}`) return status(401, "Unauthorized")
    return query["watch"] === "true" ? { text: "" } : ok
  })

const tokensOf = (asked: ReadonlyArray<Asked>) => asked.map((one) => one.headers.authorization?.replace("Bearer ", ""))

/** With the environment changed for as long as the effect runs. */
const withEnvironment = <A, E, R>(change: Record<string, string | undefined>, effect: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      for (const [name, value] of Object.entries(change)) vi.stubEnv(name, value)
    }),
    () => effect,
    () => Effect.sync(() => vi.unstubAllEnvs())
  )

const configureError = (source: CredentialsSource) =>
  Effect.flip(Effect.scoped(makeKubeClient(source))).pipe(Effect.mapError(() => new Error("was accepted")))

describe("credentials", () => {
  it.live("are read again on a 401, for requests and watches, and a second 401 is final", () =>
    Effect.gen(function* () {
      const dir = yield* temporaryDirectory
      const accepted = { token: "one" }
      const server = yield* guarded(accepted)
      const path = join(dir, "config")
      writeFileSync(path, kubeconfig(server.url, { token: "one" }))
      const client = yield* makeKubeClient({ _tag: "Files", path })
      yield* client.get(Things, ref)

      accepted.token = "two"
      writeFileSync(path, kubeconfig(server.url, { token: "two" }))
      yield* Effect.all([client.get(Things, ref), client.get(Things, ref), client.get(Things, ref)], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(tokensOf(server.asked).sort(), ["one", "one", "one", "one", "two", "two", "two"])

      accepted.token = "three"
      const error = yield* Effect.flip(client.get(Things, ref))
      assert.strictEqual(error.reason, "Unauthorized")
      assert.lengthOf(server.asked, 9)
      writeFileSync(path, kubeconfig(server.url, { token: "three" }))
      yield* Stream.runDrain(client.watch(Things, { resourceVersion: "1" }))
    }).pipe(Effect.scoped)
  )

  it.effect("in the pod are its token file's, which is read again in time", () =>
    Effect.gen(function* () {
      const root = yield* temporaryDirectory
      const dir = join(root, "var/run/secrets/kubernetes.io/serviceaccount")
      mkdirSync(dir, { recursive: true })
      const { ca, server: tls } = certificates(yield* temporaryDirectory, "IP:127.0.0.1")
      writeFileSync(join(dir, "ca.crt"), ca)
      writeFileSync(join(dir, "token"), "one\n")
      writeFileSync(join(dir, "namespace"), "mine")
      const server = yield* serve(() => ok, tls)
      const { hostname, port } = new URL(server.url)
      // client-node keeps a token for 60 s of its own clock, this client for 30 s of Effect's.
      vi.useFakeTimers({ toFake: ["Date"] })
      yield* Effect.addFinalizer(() => Effect.sync(() => vi.useRealTimers()))
      yield* withEnvironment(
        { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port },
        Effect.gen(function* () {
          const client = yield* makeKubeClient({ _tag: "InCluster", root })
          yield* client.get(Things, ref)
          writeFileSync(join(dir, "token"), "two\n")
          yield* client.get(Things, ref)
          vi.setSystemTime(Date.now() + 61_000)
          yield* TestClock.adjust("61 seconds")
          yield* client.get(Things, ref)
        })
      )
      assert.deepStrictEqual(tokensOf(server.asked), ["one", "one", "two"])
    }).pipe(Effect.scoped)
  )

  it.live("come from an exec plugin, which is run again on a 401 and told what the contract promises", () =>
    Effect.gen(function* () {
      const dir = yield* temporaryDirectory
      const accepted = { token: "token-1" }
      const server = yield* guarded(accepted)
      const plugin = join(dir, "plugin.sh")
      writeFileSync(
        plugin,
        `#!/bin/sh
echo "$KUBERNETES_EXEC_INFO" >"$1/info"
echo "$MINE" >"$1/env"
echo run >>"$1/runs"
n=$(wc -l <"$1/runs" | tr -d ' ')
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"token-'$n'"}}'
`
      )
      chmodSync(plugin, 0o755)
      const path = join(dir, "config")
      const exec = {
        apiVersion: "client.authentication.k8s.io/v1",
        command: "./plugin.sh",
        args: [dir],
        env: [{ name: "MINE", value: "yes" }],
        interactiveMode: "Never"
      }
      writeFileSync(path, kubeconfig(server.url, { exec }))
      const client = yield* makeKubeClient({ _tag: "Files", path })
      yield* client.get(Things, ref)
      yield* client.get(Things, ref)
      accepted.token = "token-2"
      // Once for all of them: a second run would give token-3, which nobody accepts.
      yield* Effect.all([client.get(Things, ref), client.get(Things, ref), client.get(Things, ref)], {
        concurrency: "unbounded"
      })
      assert.strictEqual(readFileSync(join(dir, "runs"), "utf8"), "run\nrun\n")
      assert.strictEqual(tokensOf(server.asked).filter((token) => token === "token-2").length, 3)
      assert.strictEqual(readFileSync(join(dir, "env"), "utf8"), "yes\n")
      const info: unknown = JSON.parse(readFileSync(join(dir, "info"), "utf8"))
      assert.deepInclude(info, { kind: "ExecCredential", apiVersion: "client.authentication.k8s.io/v1" })
    }).pipe(Effect.scoped)
  )

  it.live("may be a client certificate, and the server's is checked against the CA and tls-server-name", () =>
    Effect.gen(function* () {
      const { ca, server: tls, client: mine } = certificates(yield* temporaryDirectory, "DNS:api.internal")
      const server = yield* serve(() => ok, { ...tls, ca, requestCert: true, rejectUnauthorized: true })
      const user = { "client-certificate-data": base64(mine.cert), "client-key-data": base64(mine.key) }
      const trust = { "certificate-authority-data": base64(ca) }
      const get = (cluster: Record<string, unknown>) =>
        Effect.scoped(
          Effect.flatMap(
            makeKubeClient({ _tag: "Text", kubeconfig: kubeconfig(server.url, user, cluster) }),
            (client) => client.get(Things, ref)
          )
        )
      yield* get({ ...trust, "tls-server-name": "api.internal" })
      assert.strictEqual(server.asked[0]?.clientName, "client")
      assert.strictEqual((yield* Effect.flip(get(trust))).reason, "Unavailable")
      assert.strictEqual((yield* Effect.flip(get({ "tls-server-name": "api.internal" }))).reason, "Unavailable")
      yield* get({ "insecure-skip-tls-verify": true })
      assert.lengthOf(server.asked, 2)
    }).pipe(Effect.scoped)
  )

  it.live("that change their certificate change the sockets too", () =>
    Effect.gen(function* () {
      const dir = yield* temporaryDirectory
      const { ca, server: tls, client: mine } = certificates(yield* temporaryDirectory, "IP:127.0.0.1")
      const server = yield* serve(({ clientName }) => (clientName === "client" ? ok : status(401, "Unauthorized")), {
        ...tls,
        ca,
        requestCert: true,
        rejectUnauthorized: false
      })
      const path = join(dir, "config")
      const trust = { "certificate-authority-data": base64(ca) }
      writeFileSync(path, kubeconfig(server.url, {}, trust))
      const client = yield* makeKubeClient({ _tag: "Files", path })
      assert.strictEqual((yield* Effect.flip(client.get(Things, ref))).reason, "Unauthorized")
      writeFileSync(join(dir, "me.crt"), mine.cert)
      writeFileSync(join(dir, "me.key"), mine.key)
      // Relative to the kubeconfig's directory.
      writeFileSync(path, kubeconfig(server.url, { "client-certificate": "me.crt", "client-key": "me.key" }, trust))
      yield* client.get(Things, ref)
    }).pipe(Effect.scoped)
  )

  it.live("of basic auth and impersonation are sent", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => ok)
      const user = { username: "u", password: "p", as: "someone" }
      const client = yield* makeKubeClient({ _tag: "Text", kubeconfig: kubeconfig(server.url, user) })
      yield* client.get(Things, ref)
      assert.deepInclude(server.asked[0]?.headers, {
        authorization: `Basic ${base64("u:p")}`,
        "impersonate-user": "someone"
      })
    }).pipe(Effect.scoped)
  )

  it.live("go through proxy-url", () =>
    Effect.gen(function* () {
      const proxy = yield* serve(() => ok)
      const client = yield* makeKubeClient({
        _tag: "Text",
        kubeconfig: kubeconfig("http://cluster.invalid", { token: "t" }, { "proxy-url": proxy.url })
      })
      yield* client.get(Things, ref)
      assert.strictEqual(proxy.asked[0]?.headers.host, "cluster.invalid")
    }).pipe(Effect.scoped)
  )
})

describe("kubeconfig", () => {
  it.live("of KUBECONFIG is merged: the first file to say something wins, absent files are passed over", () =>
    Effect.gen(function* () {
      const dir = yield* temporaryDirectory
      const server = yield* serve(() => ok)
      writeFileSync(join(dir, "one"), kubeconfig(server.url, { token: "one" }))
      writeFileSync(
        join(dir, "two"),
        kubeconfig("http://127.0.0.1:1", { token: "two" }).replaceAll("name: fake", "name: other")
      )
      const list = ["absent", "one", "two"].map((name) => join(dir, name)).join(":")
      yield* withEnvironment(
        { KUBECONFIG: list },
        Effect.gen(function* () {
          const client = yield* makeKubeClient({ _tag: "Files" })
          yield* client.get(Things, ref)
          assert.include((yield* configureError({ _tag: "Files", context: "absent" })).message, '"absent"')
        })
      )
      assert.deepStrictEqual(tokensOf(server.asked), ["one"])
    }).pipe(Effect.scoped)
  )

  it.live("out of a Secret can neither run programs nor read files of ours", () =>
    Effect.gen(function* () {
      const users: ReadonlyArray<Record<string, unknown>> = [
        { exec: { command: "touch", args: ["/tmp/owned"] } },
        { "auth-provider": { name: "gcp", config: { "cmd-path": "touch" } } },
        { tokenFile: "/etc/hostname" },
        { "client-certificate": "/etc/hostname" },
        { "client-key": "/etc/hostname" }
      ]
      for (const user of users) {
        const error = yield* configureError({ _tag: "Text", kubeconfig: kubeconfig("https://c.invalid", user) })
        assert.deepStrictEqual([error.verb, error.reason], ["configure", "BadRequest"])
        assert.include(error.message, Object.keys(user).join())
      }
      const ca = { "certificate-authority": "/etc/hostname" }
      yield* configureError({ _tag: "Text", kubeconfig: kubeconfig("https://c.invalid", {}, ca) })
    })
  )

  it.live("that is wrong is refused by what is wrong with it, without its text", () =>
    Effect.gen(function* () {
      const text = (kubeconfig: string) => configureError({ _tag: "Text", kubeconfig })
      assert.notInclude((yield* text("token: [s3cret")).message, "s3cret")
      assert.include((yield* text("")).message, "not a kubeconfig")
      assert.include((yield* text("current-context: x")).message, '"x"')
      assert.include((yield* text("clusters: []")).message, "current-context")
      assert.include((yield* configureError({ _tag: "Files", path: "/absent/config" })).message, "ENOENT")
      const groups = kubeconfig("https://c.invalid", { as: "a", "as-groups": ["admins"] })
      assert.include((yield* text(groups)).message, "as-groups")
    })
  )
})
