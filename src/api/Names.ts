/**
 * Owns the names that Cluster API (CAPI), k0smotron's users and we agree on: groups, labels, annotations, finalizers,
 * Secret keys and types. Does not own what any of them makes an actor do (CONTRACT.md, DESIGN.md).
 */

export const CLUSTER_GROUP = "cluster.x-k8s.io"
export const INFRASTRUCTURE_GROUP = "infrastructure.cluster.x-k8s.io"
export const BOOTSTRAP_GROUP = "bootstrap.cluster.x-k8s.io"
export const CONTROL_PLANE_GROUP = "controlplane.cluster.x-k8s.io"
/** The one version we serve and store; it satisfies CAPI contracts v1beta1 and v1beta2. */
export const API_VERSION = "v1beta1"

/** CAPI's labels. */
export const CLUSTER_NAME_LABEL = "cluster.x-k8s.io/cluster-name"
/** On control-plane Machines; only its presence counts. */
export const CONTROL_PLANE_LABEL = "cluster.x-k8s.io/control-plane"
/** On the Machines of a MachineDeployment, and on what is cloned for them. */
export const DEPLOYMENT_NAME_LABEL = "cluster.x-k8s.io/deployment-name"
export const SET_NAME_LABEL = "cluster.x-k8s.io/set-name"
export const WATCH_FILTER_LABEL = "cluster.x-k8s.io/watch-filter"
export const PROVIDER_LABEL = "cluster.x-k8s.io/provider"
/** On a CRD, or on one object: `clusterctl move` takes it along though no Cluster owns it. */
export const MOVE_LABEL = "clusterctl.cluster.x-k8s.io/move"
/** On CRDs: which of our API versions satisfies the contract named in the label. */
export const CONTRACT_V1BETA1_LABEL = "cluster.x-k8s.io/v1beta1"
export const CONTRACT_V1BETA2_LABEL = "cluster.x-k8s.io/v1beta2"

/** CAPI's annotations. For `paused`, `managed-by`, `block-move` and `delete-for-move` only the presence counts. */
export const PAUSED_ANNOTATION = "cluster.x-k8s.io/paused"
export const MANAGED_BY_ANNOTATION = "cluster.x-k8s.io/managed-by"
export const BLOCK_MOVE_ANNOTATION = "clusterctl.cluster.x-k8s.io/block-move"
export const DELETE_FOR_MOVE_ANNOTATION = "clusterctl.cluster.x-k8s.io/delete-for-move"
export const TOPOLOGY_DRY_RUN_ANNOTATION = "topology.cluster.x-k8s.io/dry-run"
export const CLONED_FROM_NAME_ANNOTATION = "cluster.x-k8s.io/cloned-from-name"
export const CLONED_FROM_GROUP_KIND_ANNOTATION = "cluster.x-k8s.io/cloned-from-groupkind"
/** The Machine's own: neither stripped nor copied by us. */
export const SKIP_REMEDIATION_ANNOTATION = "cluster.x-k8s.io/skip-remediation"

/** Prefix of everything that is ours. */
export const MACHINIST_PREFIX = "machinist.dev/"
/** Written by us: who holds which host (on both objects), and what was done to a host. */
export const CLAIM_ANNOTATION = "machinist.dev/claim"
export const RUN_ANNOTATION = "machinist.dev/run"
/** Written by us: which labels and annotations of a RemoteMachine, or of its Machine, are those of its host. */
export const FROM_HOST_ANNOTATION = "machinist.dev/from-host"
/** On a K0sControllerConfig: its Machine was seen among the controllers of its cluster, where there need be no Node. */
export const JOINED_ANNOTATION = "machinist.dev/joined"
/** Label on bootstrap token Secrets of a workload cluster: uid of the bootstrap config that the token is for. */
export const CONFIG_UID_LABEL = "machinist.dev/config-uid"
/** Written by people. */
export const RETRY_ANNOTATION = "machinist.dev/retry"
/** On a bootstrap config: how long its join token lives unless it is renewed (`2h`, `1h30m`). */
/** How long one step, and a whole bootstrap, may take, like `90m`; the flags of the controller otherwise. */
export const STEP_TIMEOUT_ANNOTATION = "machinist.dev/step-timeout"
export const BOOTSTRAP_TIMEOUT_ANNOTATION = "machinist.dev/bootstrap-timeout"
export const TOKEN_TTL_ANNOTATION = "machinist.dev/token-ttl"
export const RELEASE_ANNOTATION = "machinist.dev/release"
export const MAINTENANCE_ANNOTATION = "machinist.dev/maintenance"
/** Also written by us, when a host's key is seen first. */
export const HOST_KEY_ANNOTATION = "machinist.dev/host-key"
/** Written by us: the keys of jump hosts that were seen first. */
export const JUMP_HOST_KEYS_ANNOTATION = "machinist.dev/jump-host-keys"
export const SELECTOR_ANNOTATION = "machinist.dev/selector"
export const ADOPT_FOREIGN_ANNOTATION = "machinist.dev/adopt-foreign"
export const REUSE_WITHOUT_CLEANING_ANNOTATION = "machinist.dev/reuse-without-cleaning"

/** k0smotron's own finalizer, so that a machine of either provider can be taken over by the other. */
export const REMOTE_MACHINE_FINALIZER = "remotemachine.k0smotron.io/finalizer"
/** On bootstrap configs, until their token is revoked. */
export const BOOTSTRAP_CONFIG_FINALIZER = "machinist.dev/bootstrap"
/** On an SSH key Secret, while a host it opens may still have to be cleaned. */
export const SSH_KEY_FINALIZER = "machinist.dev/ssh-key"
/** Label beside it, with an empty value: finalizers can't be selected by. */
export const SSH_KEY_LABEL = "machinist.dev/ssh-key"

/** CAPI's, on workload-cluster Nodes: whose Node it is, once core has found it. */
export const NODE_MACHINE_ANNOTATION = "cluster.x-k8s.io/machine"
/** On workload-cluster Nodes: which Machine a Node is, whatever its hostname. */
export const MACHINE_NAME_NODE_LABEL = "k0smotron.io/machine-name"

/** k0smotron's, on Machines of a K0sControlPlane: its controllers run workloads, too. */
export const WORKER_ENABLED_LABEL = "k0smotron.io/control-plane-worker-enabled"

/** Type of bootstrap data Secrets, and CAPI's others (`<cluster>-kubeconfig`, `<cluster>-ca`, …). */
export const CLUSTER_SECRET_TYPE = "cluster.x-k8s.io/secret"
/** Key of bootstrap data, of kubeconfigs and of SSH keys. */
export const SECRET_VALUE_KEY = "value"
/** Keys beside `value` in SSH key Secrets: what decrypts it, and a known_hosts file for the hosts that it opens. */
export const SECRET_PASSPHRASE_KEY = "passphrase"
export const SECRET_KNOWN_HOSTS_KEY = "knownHosts"
/** Key beside `value` in bootstrap data: `cloud-config` or `ignition`. */
export const SECRET_FORMAT_KEY = "format"
export const kubeconfigSecretName = (cluster: string): string => `${cluster}-kubeconfig`
export const certificateSecretName = (cluster: string, purpose: "ca" | "sa" | "proxy" | "etcd"): string =>
  `${cluster}-${purpose}`

/** On hosts, Nodes and what stands for them: which failure domain it is in. */
export const ZONE_LABEL = "topology.kubernetes.io/zone"
export const REGION_LABEL = "topology.kubernetes.io/region"

/** The file every bootstrap must end by creating (CAPI's bootstrap contract). Same as hosts/Protocol's SENTINEL. */
export const BOOTSTRAP_SENTINEL = "/run/cluster-api/bootstrap-success.complete"
