/**
 * Owns the kubeconfig a client reaches the front with. Does not own where it is kept, nor credentials themselves.
 */
import * as Yaml from "yaml"
import type { ServerIdentity } from "./ServerIdentity.ts"

export const CONTEXT = "machinist"

export const kubeconfigOf = (url: string, identity: Pick<ServerIdentity, "caPem" | "token">): string =>
  Yaml.stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      clusters: [
        {
          name: CONTEXT,
          cluster: {
            server: url,
            "certificate-authority-data": Buffer.from(identity.caPem, "utf8").toString("base64")
          }
        }
      ],
      users: [{ name: CONTEXT, user: { token: identity.token } }],
      contexts: [{ name: CONTEXT, context: { cluster: CONTEXT, user: CONTEXT, namespace: "default" } }],
      "current-context": CONTEXT
    },
    { lineWidth: 0 }
  )
