/**
 * Owns the way into a simulated workload cluster, and its form in the Cluster's kubeconfig Secret. Not what answers there.
 */
import * as Result from "effect/Result"
import { parse } from "yaml"
import { arrayAt, type Json, stringAt } from "../apiserver/Json.ts"

/** What the kubeconfig Secret of a Cluster says; it is the Secret that lasts, so that a restart finds the same. */
export interface WorkloadAccess {
  /** `https://host:port`. */
  readonly server: string
  /** PEM. */
  readonly ca: string
  /** Bearer token of the administrator. */
  readonly token: string
  /** PEM; what a front's certificate is signed with. Never in a kubeconfig. */
  readonly authorityKey?: string | undefined
}

/** Where the control plane runs: beside the management cluster, or on the cluster's own machines. */
export type Placement = "hosted" | "machines"

export const kubeconfigText = (cluster: string, access: WorkloadAccess): string =>
  JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: cluster,
        cluster: { server: access.server, "certificate-authority-data": Buffer.from(access.ca).toString("base64") }
      }
    ],
    users: [{ name: `${cluster}-admin`, user: { token: access.token } }],
    contexts: [{ name: cluster, context: { cluster, user: `${cluster}-admin` } }],
    "current-context": cluster
  })

const parsed = (kubeconfig: string): Json | undefined =>
  Result.getOrElse(
    // YAML of plain data is JSON; what is not is no kubeconfig either.
    Result.try((): Json => JSON.parse(JSON.stringify(parse(kubeconfig, { logLevel: "silent" })))),
    () => undefined
  )

/** The other way round: what a kubeconfig Secret written earlier says. */
export const accessIn = (kubeconfig: string): WorkloadAccess | undefined => {
  const config = parsed(kubeconfig)
  const [cluster] = arrayAt(config, "clusters")
  const [user] = arrayAt(config, "users")
  const server = stringAt(cluster, "cluster", "server")
  const token = stringAt(user, "user", "token")
  const ca = stringAt(cluster, "cluster", "certificate-authority-data")
  if (server === undefined || token === undefined || ca === undefined) return undefined
  return { server, token, ca: Buffer.from(ca, "base64").toString("utf8") }
}
