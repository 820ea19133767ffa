/**
 * Owns the public entry `machinist`: the provider as one scoped Effect, its ports with their live implementations, and the
 * kinds, for those who run it inside a program of their own. Nothing is defined here; simulations are in testing.ts.
 */
export { Clusters, MachineDeployments, MachineSets, Machines } from "./api/ClusterApi.ts"
export { ourCrds } from "./api/crd/Render.ts"
export type { Kind, KubeObject, ObjectMeta } from "./api/Kind.ts"
export { ourKinds } from "./api/OurKinds.ts"
export { HostRuns } from "./hosts/HostRuns.ts"
export * as LiveHostRuns from "./hosts/LiveHostRuns.ts"
export { type JsonObject, KubeClient, type KubeClientShape } from "./kube/KubeClient.ts"
export { KubeError } from "./kube/KubeError.ts"
export * as LiveKubeClient from "./kube/LiveKubeClient.ts"
export { WorkloadClusters } from "./kube/WorkloadClusters.ts"
export { ProviderOptions } from "./provider/Options.ts"
export * as Provider from "./provider/Provider.ts"
export * as LiveSshClient from "./ssh/LiveSshClient.ts"
export { SshClient, type SshClientShape } from "./ssh/SshClient.ts"
export { SshError } from "./ssh/SshError.ts"
