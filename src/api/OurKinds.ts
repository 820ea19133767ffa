/**
 * Owns the list of the kinds that are ours: what CRDs, RBAC and documentation are generated from.
 * Does not own any of them.
 */
import type { Definition } from "./Definition.ts"
import { K0sControllerConfigs, K0sWorkerConfigs, K0sWorkerConfigTemplates } from "./K0sConfigs.ts"
import { PooledRemoteMachines } from "./PooledRemoteMachine.ts"
import { RemoteClusters, RemoteClusterTemplates } from "./RemoteCluster.ts"
import { RemoteMachines, RemoteMachineTemplates } from "./RemoteMachine.ts"

export const ourKinds: ReadonlyArray<Definition> = [
  RemoteClusters,
  RemoteClusterTemplates,
  RemoteMachines,
  RemoteMachineTemplates,
  PooledRemoteMachines,
  K0sWorkerConfigs,
  K0sWorkerConfigTemplates,
  K0sControllerConfigs
]
