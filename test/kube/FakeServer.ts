/**
 * Owns an HTTP(S) server on loopback that a test scripts: what is asked is kept, what is answered is the test's.
 * Also kubeconfigs, temporary directories and certificates for such tests. Does not imitate Kubernetes.
 */
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as http from "node:http"
import * as https from "node:https"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import * as Yaml from "yaml"

export interface Asked {
  readonly method: string
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
  /** Common name of the client's certificate. */
  readonly clientName: string | undefined
  /** For answers that are no plain JSON: streams, resets, silence. */
  readonly raw: http.ServerResponse
}

/** `undefined`: the handler answers through `raw`, or not at all. */
export type Answer =
  | { readonly status?: number; readonly headers?: Readonly<Record<string, string>>; readonly json: unknown }
  | { readonly status?: number; readonly headers?: Readonly<Record<string, string>>; readonly text: string }
  | undefined

export interface FakeServer {
  readonly url: string
  readonly asked: ReadonlyArray<Asked>
}

const clientNameOf = (request: http.IncomingMessage): string | undefined => {
  const socket = request.socket
  if (!("getPeerCertificate" in socket) || typeof socket.getPeerCertificate !== "function") return undefined
  const name: unknown = socket.getPeerCertificate()?.subject?.CN
  return typeof name === "string" ? name : undefined
}

export const serve = (
  handler: (asked: Asked) => Answer,
  tls?: https.ServerOptions
): Effect.Effect<FakeServer, never, Scope> =>
  Effect.acquireRelease(
    Effect.callback<FakeServer & { readonly close: () => Promise<void> }>((resume) => {
      const asked: Array<Asked> = []
      const listener: http.RequestListener = (request, response) => {
        const chunks: Array<Buffer> = []
        request.on("data", (chunk: Buffer) => chunks.push(chunk))
        request.on("end", () => {
          const url = new URL(request.url ?? "/", "http://fake")
          const entry: Asked = {
            method: request.method ?? "",
            path: url.pathname,
            query: Object.fromEntries(url.searchParams),
            headers: request.headers,
            body: Buffer.concat(chunks).toString("utf8"),
            clientName: clientNameOf(request),
            raw: response
          }
          asked.push(entry)
          const answer = handler(entry)
          if (answer === undefined) return
          const text = "json" in answer ? JSON.stringify(answer.json) : answer.text
          response.writeHead(answer.status ?? 200, {
            "content-type": "json" in answer ? "application/json" : "text/plain",
            ...answer.headers
          })
          response.end(text)
        })
      }
      const server = tls === undefined ? http.createServer(listener) : https.createServer(tls, listener)
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(
          Effect.succeed({
            url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`,
            asked,
            close: () =>
              new Promise<void>((done) => {
                server.close(() => done())
                server.closeAllConnections()
              })
          })
        )
      })
    }),
    (server) => Effect.promise(server.close)
  )

export const status = (code: number, reason: string, extra: Record<string, unknown> = {}): Answer => ({
  status: code,
  json: {
    kind: "Status",
    apiVersion: "v1",
    status: "Failure",
    reason,
    code,
    message: `${reason} said the server`,
    ...extra
  }
})

export const kubeconfig = (
  server: string,
  user: Record<string, unknown> = {},
  cluster: Record<string, unknown> = {}
): string =>
  Yaml.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "fake", cluster: { server, ...cluster } }],
    users: [{ name: "me", user }],
    contexts: [{ name: "fake", context: { cluster: "fake", user: "me" } }],
    "current-context": "fake"
  })

export const temporaryDirectory: Effect.Effect<string, never, Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "machinist-kube-"))),
  (dir) => Effect.sync(() => rmSync(dir, { recursive: true, force: true }))
)

export interface Certificates {
  readonly ca: string
  readonly server: { readonly cert: string; readonly key: string }
  readonly client: { readonly cert: string; readonly key: string }
}

/** A CA, a server certificate for `dnsName` (and 127.0.0.1 when that is asked), a client certificate. */
export const certificates = (dir: string, san: string): Certificates => {
  const openssl = (...args: ReadonlyArray<string>) => execFileSync("openssl", args, { cwd: dir, stdio: "pipe" })
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
  openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2")
  const issue = (name: string, extension: string) => {
    writeFileSync(join(dir, `${name}.ext`), extension)
    openssl("req", ...key, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`)
    openssl(
      ...["x509", "-req", "-in", `${name}.csr`, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"],
      ...["-out", `${name}.crt`, "-days", "2", "-extfile", `${name}.ext`]
    )
    return {
      cert: readFileSync(join(dir, `${name}.crt`), "utf8"),
      key: readFileSync(join(dir, `${name}.key`), "utf8")
    }
  }
  return {
    server: issue("server", `subjectAltName=${san}\n`),
    client: issue("client", "extendedKeyUsage=clientAuth\n"),
    ca: readFileSync(join(dir, "ca.crt"), "utf8")
  }
}

export const base64 = (text: string): string => Buffer.from(text).toString("base64")
