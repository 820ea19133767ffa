/**
 * Owns what a worker needs to reach a K0smotronControlPlane through its ingress: certificates, and an haproxy static
 * pod that in-cluster clients of the API and konnectivity agents talk to. Fetching the certificates is the actor's.
 */

import { POD_MANIFEST_PATH } from "./InstallArgs.ts"
import type { BootstrapFile } from "./Payload.ts"

export interface Ingress {
  readonly apiHost: string
  /** Absent: the API alone is proxied. */
  readonly konnectivityHost?: string | undefined
  readonly port: number
  /** PEM: `tls.crt` of Secret `<cluster>-ca`. Its key stays in the management cluster; k0smotron copies it to workers. */
  readonly caCert: string
  /** PEM: `tls.crt` and `tls.key` of Secret `<cluster>-ingress-haproxy`. */
  readonly serverCert: string
  readonly serverKey: string
}

const CERTS = "/etc/haproxy/certs"

const file = (path: string, content: string, mode: string): BootstrapFile => ({
  path,
  content: Buffer.from(content, "utf8"),
  mode
})

const withNewline = (pem: string): string => (pem.endsWith("\n") ? pem : `${pem}\n`)

const backend = (name: string, server: string, host: string, port: number): string =>
  `backend ${name}
    mode tcp
    server ${server} ${host}:${port} ssl verify required ca-file ${CERTS}/ca.crt sni str(${host})
`

const haproxyConfig = (ingress: Ingress): string =>
  [
    `frontend kubeapi_front
    bind [::]:7443 v4v6 ssl crt ${CERTS}/server.pem
    mode tcp
    default_backend kubeapi_back
`,
    backend("kubeapi_back", "kube_api", ingress.apiHost, ingress.port),
    ...(ingress.konnectivityHost === undefined
      ? []
      : [
          `frontend konnectivity_front
    bind [::]:7132 v4v6 ssl crt ${CERTS}/server.pem
    mode tcp
    default_backend konnectivity_back
`,
          backend("konnectivity_back", "konnectivity", ingress.konnectivityHost, ingress.port)
        ])
  ].join("\n")

/** Runs as root, so that the key need not be readable for anyone else. */
const HAPROXY_POD = `apiVersion: v1
kind: Pod
metadata:
  name: haproxy
  namespace: default
  labels:
    app: k0smotron-ingress-haproxy
spec:
  hostNetwork: true
  securityContext:
    runAsUser: 0
  containers:
    - name: haproxy
      image: haproxy:2.8
      args:
        - -f
        - /etc/haproxy/haproxy.cfg
      ports:
        - containerPort: 7443
          name: https
      volumeMounts:
        - name: haproxy-config
          mountPath: /etc/haproxy/
          readOnly: true
  volumes:
    - name: haproxy-config
      hostPath:
        path: /etc/haproxy/
        type: DirectoryOrCreate
`

export const ingressFiles = (ingress: Ingress): ReadonlyArray<BootstrapFile> => [
  file(`${CERTS}/ca.crt`, ingress.caCert, "0644"),
  file(`${CERTS}/server.crt`, ingress.serverCert, "0644"),
  file(`${CERTS}/server.key`, ingress.serverKey, "0600"),
  file(`${CERTS}/server.pem`, withNewline(ingress.serverCert) + withNewline(ingress.serverKey), "0600"),
  file("/etc/haproxy/haproxy.cfg", haproxyConfig(ingress), "0644"),
  file(`${POD_MANIFEST_PATH}/haproxy.yaml`, HAPROXY_POD, "0644")
]
