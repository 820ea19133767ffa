/**
 * Owns the public entry `machinist/testing`: a simulated management cluster with hosts and the real provider, for tests of
 * controllers, rollouts and the provider itself (docs/testing.md). `makeSimulation` is an Effect; `createSimulation` the
 * same in plain async TypeScript. Nothing is defined here.
 */
export { Clusters, MachineDeployments, MachineSets, Machines } from "./api/ClusterApi.ts"
export { Events, Namespaces, Nodes, Secrets, secretData, secretText } from "./api/Core.ts"
export {
  K0sControllerConfigs,
  K0sWorkerConfigs,
  K0sWorkerConfigTemplates
} from "./api/K0sConfigs.ts"
export type { Kind, KubeObject, ObjectMeta } from "./api/Kind.ts"
export { PooledRemoteMachines } from "./api/PooledRemoteMachine.ts"
export { RemoteClusters } from "./api/RemoteCluster.ts"
export { RemoteMachines, RemoteMachineTemplates } from "./api/RemoteMachine.ts"
export { type JsonObject, KubeClient, type KubeClientShape } from "./kube/KubeClient.ts"
export { KubeError } from "./kube/KubeError.ts"
export { rawKind } from "./simulation/core/Raw.ts"
export { type Account, root, SIMULATED_KEY, sudoer, withoutSudo } from "./simulation/hosts/Accounts.ts"
export type { Reachability, SimulatedHost } from "./simulation/hosts/SimulatedHost.ts"
export type { StepContext } from "./simulation/hosts/StepContext.ts"
export type { StepBehaviour, StepMatcher } from "./simulation/hosts/StepRunner.ts"
export type { Entered, Process, ProcessOptions, Wrap } from "./simulation/Processes.ts"
export {
  type AsyncOptions,
  type AsyncProcess,
  type AsyncSimulation,
  createSimulation
} from "./simulation/testing/Async.ts"
export type { PortFaults } from "./simulation/testing/FaultNames.ts"
export type { ClaimView, EventView, Inspection, MachineView, StepView } from "./simulation/testing/Inspection.ts"
export type { ClusterInput, WorkersInput } from "./simulation/testing/Objects.ts"
export * as Scripts from "./simulation/testing/Scripts.ts"
export {
  type HostInput,
  type Manifests,
  make as makeSimulation,
  type Simulation,
  type SimulationOptions
} from "./simulation/testing/Simulation.ts"
export { NotInTime, type Time } from "./simulation/testing/Time.ts"
