/**
 * Owns how a machine is let into its workload cluster: the bootstrap token, its Secret in `kube-system`, and the k0s
 * join token that carries it. Draws no randomness and asks no cluster: bytes, time and certificates are passed in.
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { parse, stringify } from "yaml"
import { decodeBase64, gunzip, gzipStored } from "./bootstrap/Gzip.ts"
import { rfc3339 } from "./Rfc3339.ts"

export interface BootstrapToken {
  /** 6 of `[a-z0-9]`; public, names the Secret. */
  readonly id: string
  /** 16 of `[a-z0-9]`. */
  readonly secret: string
}

export class JoinTokenError extends Schema.TaggedError<JoinTokenError>()("JoinTokenError", {
  message: Schema.String
}) {
  readonly retry = "waitForChange" as const
}

const ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
const ID_LENGTH = 6
const SECRET_LENGTH = 16
/** Bytes to draw: 22 are needed, and 4 of 256 values are thrown away; 64 are too few once in 10^60 draws. */
export const TOKEN_RANDOM_BYTES = 64
/** Seconds a token lives unless it is renewed, or told otherwise: whoever waits for a host longer gets it extended. */
export const TOKEN_TTL_SECONDS = 24 * 60 * 60

/** Unbiased: bytes past the last multiple of 36 are skipped. Fails only when fed too few bytes. */
export const tokenFromBytes = (random: Uint8Array): Result.Result<BootstrapToken, JoinTokenError> => {
  const limit = 256 - (256 % ALPHABET.length)
  const letters = [...random].filter((byte) => byte < limit).map((byte) => ALPHABET.charAt(byte % ALPHABET.length))
  if (letters.length < ID_LENGTH + SECRET_LENGTH) {
    return Result.fail(new JoinTokenError({ message: `a token needs ${TOKEN_RANDOM_BYTES} random bytes` }))
  }
  return Result.succeed({
    id: letters.slice(0, ID_LENGTH).join(""),
    secret: letters.slice(ID_LENGTH, ID_LENGTH + SECRET_LENGTH).join("")
  })
}

export const TOKEN_NAMESPACE = "kube-system"
export const TOKEN_SECRET_TYPE = "bootstrap.kubernetes.io/token"
export const tokenSecretName = (id: string): string => `bootstrap-token-${id}`

/** A Secret as it is sent to the workload cluster; `data` is base64, which every API server understands alike. */
export interface TokenSecret {
  readonly apiVersion: "v1"
  readonly kind: "Secret"
  readonly metadata: { readonly name: string; readonly namespace: string }
  readonly type: string
  readonly data: Readonly<Record<string, string>>
}

const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64")

/** The one field that is written again while the machine has not joined. */
export const tokenExpiration = (expiresMillis: number): string => base64(rfc3339(expiresMillis))

const tokenSecret = (token: BootstrapToken, expiresMillis: number, rest: Record<string, string>): TokenSecret => ({
  apiVersion: "v1",
  kind: "Secret",
  metadata: { name: tokenSecretName(token.id), namespace: TOKEN_NAMESPACE },
  type: TOKEN_SECRET_TYPE,
  data: {
    "token-id": base64(token.id),
    "token-secret": base64(token.secret),
    expiration: tokenExpiration(expiresMillis),
    ...Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, base64(value)]))
  }
})

/** `whose`: `Machine namespace/name`, so that a person who finds the Secret knows. */
export const workerTokenSecret = (token: BootstrapToken, expiresMillis: number, whose: string): TokenSecret =>
  tokenSecret(token, expiresMillis, {
    description: `Worker bootstrap token for ${whose}, made by Machinist`,
    "usage-bootstrap-api-auth": "true",
    "usage-bootstrap-authentication": "true",
    "usage-bootstrap-api-worker-calls": "true"
  })

export const controllerTokenSecret = (token: BootstrapToken, expiresMillis: number, whose: string): TokenSecret =>
  tokenSecret(token, expiresMillis, {
    description: `Controller join token for ${whose}, made by Machinist`,
    "usage-bootstrap-api-auth": "true",
    "usage-bootstrap-authentication": "false",
    "usage-bootstrap-signing": "false",
    "usage-controller-join": "true"
  })

/** `host` bracketed when it is an IPv6 address. */
const hostInUrl = (host: string): string => (host.includes(":") && !host.startsWith("[") ? `[${host}]` : host)

export const DEFAULT_INGRESS_PORT = 443
export const CONTROLLER_JOIN_PORT = 9443

/** A worker's way in: the ingress of a K0smotronControlPlane when it has one, else the control plane's endpoint. */
export const workerJoinServer = (
  endpoint: { readonly host: string; readonly port: number },
  ingress?: { readonly apiHost: string; readonly port?: number | undefined }
): string =>
  ingress === undefined
    ? `https://${hostInUrl(endpoint.host)}:${endpoint.port}`
    : `https://${hostInUrl(ingress.apiHost)}:${ingress.port === undefined || ingress.port === 0 ? DEFAULT_INGRESS_PORT : ingress.port}`

export const controllerJoinServer = (host: string, port: number = CONTROLLER_JOIN_PORT): string =>
  `https://${hostInUrl(host)}:${port}`

export interface JoinToken {
  readonly server: string
  /** PEM. */
  readonly ca: string
  readonly user: "kubelet-bootstrap" | "controller-bootstrap"
  readonly token: BootstrapToken
}

const kubeconfig = (join: JoinToken): string =>
  stringify(
    {
      apiVersion: "v1",
      clusters: [{ cluster: { server: join.server, "certificate-authority-data": base64(join.ca) }, name: "k0s" }],
      contexts: [{ context: { cluster: "k0s", user: join.user }, name: "k0s" }],
      "current-context": "k0s",
      kind: "Config",
      preferences: {},
      users: [{ name: join.user, user: { token: `${join.token.id}.${join.token.secret}` } }]
    },
    { lineWidth: 0 }
  )

/** base64(gzip(kubeconfig YAML)), one line; equal input gives equal bytes. */
export const encodeJoinToken = (join: JoinToken): string =>
  Buffer.from(gzipStored(Buffer.from(kubeconfig(join), "utf8"))).toString("base64")

const Kubeconfig = Schema.Struct({
  clusters: Schema.Array(
    Schema.Struct({
      cluster: Schema.Struct({ server: Schema.String, "certificate-authority-data": Schema.String })
    })
  ),
  users: Schema.Array(
    Schema.Struct({
      name: Schema.Literals(["kubelet-bootstrap", "controller-bootstrap"]),
      user: Schema.Struct({ token: Schema.String })
    })
  )
})

const TOKEN = /^([a-z0-9]{6})\.([a-z0-9]{16})$/

const notAToken = (what: string): Result.Result<never, JoinTokenError> =>
  Result.fail(new JoinTokenError({ message: `not a k0s join token: ${what}` }))

/** Takes tokens of k0s and k0smotron too: an adopted machine keeps the token it was made with. */
export const decodeJoinToken = (text: string): Result.Result<JoinToken, JoinTokenError> => {
  const zipped = decodeBase64(text)
  if (Result.isFailure(zipped)) return notAToken("not base64")
  const yaml = gunzip(zipped.success)
  if (Result.isFailure(yaml)) return notAToken("not gzip inside base64")
  const document = Result.try({
    try: (): unknown => parse(Buffer.from(yaml.success).toString("utf8"), { logLevel: "silent" }),
    catch: () => "not YAML" as const
  })
  if (Result.isFailure(document)) return notAToken("no YAML inside")
  const config = Option.getOrUndefined(Schema.decodeUnknownOption(Kubeconfig)(document.success))
  const cluster = config?.clusters[0]?.cluster
  const user = config?.users[0]
  const parts = TOKEN.exec(user?.user.token ?? "")
  const [, id, secret] = parts ?? []
  if (cluster === undefined || user === undefined || id === undefined || secret === undefined) {
    return notAToken("no kubeconfig with a bootstrap token inside")
  }
  const ca = decodeBase64(cluster["certificate-authority-data"])
  if (Result.isFailure(ca)) return notAToken("its certificate authority is not base64")
  return Result.succeed({
    server: cluster.server,
    ca: Buffer.from(ca.success).toString("utf8"),
    user: user.name,
    token: { id, secret }
  })
}
