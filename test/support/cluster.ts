/**
 * What tests of actors and provider set up: the simulation's own objects (src/simulation/ClusterObjects).
 */
export type { Secret } from "../../src/api/Core.ts"
export {
  apiServer,
  CLOUD_CONFIG,
  CLUSTER,
  createCluster,
  createHost,
  createKey,
  createMachine,
  type HostInput,
  type MachineInput,
  NAMESPACE,
  ref
} from "../../src/simulation/ClusterObjects.ts"
