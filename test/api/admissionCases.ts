/**
 * Owns the table of what our CRDs must accept and refuse: data only, so that a real kube-apiserver, the simulated one
 * and a plain CEL evaluator can all be held to it. Does not own any runner.
 */

type Json = Readonly<Record<string, unknown>>

export interface AdmissionCase {
  readonly name: string
  readonly plural: string
  /** Created first; `spec` of the object. Absent: the object has no spec at all. */
  readonly spec?: unknown
  /** Merge patches of `spec`, one after the other; all but the last must be accepted. */
  readonly patches?: ReadonlyArray<Json>
  /** Absent: the last write is accepted. Else: its error contains this. */
  readonly refused?: string
  /** Who refuses: a CEL rule, or the structural schema. */
  readonly by?: "rule" | "schema"
}

const host = { address: "10.0.0.1", sshKeyRef: { name: "key" } }
const claimed = { address: "10.0.0.1", port: 2222, user: "ops", sshKeyRef: { name: "key" }, useSudo: true }
const providerID = "remote-machine://10.0.0.1:2222"

const machines: ReadonlyArray<AdmissionCase> = [
  { name: "a host by its address", plural: "remotemachines", spec: host },
  { name: "a host of a pool", plural: "remotemachines", spec: { pool: "default" } },
  {
    name: "a claimed machine that clusterctl moves",
    plural: "remotemachines",
    spec: { pool: "default", ...claimed, providerID }
  },
  {
    name: "an empty reference of k0smotron's Go client",
    plural: "remotemachines",
    spec: { pool: "default", sshKeyRef: { name: "" } }
  },
  {
    name: "neither pool nor address",
    plural: "remotemachines",
    spec: { user: "root" },
    refused: "one of pool and address is required",
    by: "rule"
  },
  { name: "no spec", plural: "remotemachines", refused: "spec: Required value", by: "schema" },
  { name: "a null spec", plural: "remotemachines", spec: null, refused: "spec: Required value", by: "schema" },
  { name: "an empty address", plural: "remotemachines", spec: { address: "" }, refused: "spec.address", by: "schema" },
  {
    name: "a port that can't be",
    plural: "remotemachines",
    spec: { ...host, port: 70000 },
    refused: "spec.port",
    by: "schema"
  },
  {
    name: "a relative working directory",
    plural: "remotemachines",
    spec: { ...host, workingDir: "k0s" },
    refused: "spec.workingDir",
    by: "schema"
  },
  {
    name: "an empty working directory, which is the default",
    plural: "remotemachines",
    spec: { ...host, workingDir: "" }
  },
  {
    name: "a provisionJob with any template",
    plural: "remotemachines",
    spec: { ...host, provisionJob: { jobSpecTemplate: { spec: { template: { spec: { containers: [] } } } } } }
  },
  {
    name: "a provisionJob whose command is no text",
    plural: "remotemachines",
    spec: { ...host, provisionJob: { sshCommand: 7 } },
    refused: "spec.provisionJob.sshCommand",
    by: "schema"
  },
  {
    name: "a provisionJob whose template is no object",
    plural: "remotemachines",
    spec: { ...host, provisionJob: { jobSpecTemplate: "job" } },
    refused: "spec.provisionJob.jobSpecTemplate",
    by: "schema"
  },
  { name: "a claim fills in the host", plural: "remotemachines", spec: { pool: "default" }, patches: [claimed] },
  {
    name: "an untouched host is given back, another one taken",
    plural: "remotemachines",
    spec: { pool: "default" },
    patches: [claimed, { address: null, port: null }, { ...claimed, address: "10.0.0.2", port: 22 }]
  },
  {
    name: "the host of a claim is overwritten",
    plural: "remotemachines",
    spec: { pool: "default" },
    patches: [claimed, { address: "10.0.0.2" }],
    refused: "address is immutable once set",
    by: "rule"
  },
  {
    name: "the port under a claim is changed",
    plural: "remotemachines",
    spec: { pool: "default" },
    patches: [claimed, { port: 22 }],
    refused: "port is immutable once address is set",
    by: "rule"
  },
  {
    name: "a provisioned host of a pool loses its address",
    plural: "remotemachines",
    spec: { pool: "default" },
    patches: [claimed, { providerID }, { address: null }],
    refused: "address is immutable once set",
    by: "rule"
  },
  {
    name: "a host by its address is changed",
    plural: "remotemachines",
    spec: host,
    patches: [{ address: "10.0.0.2" }],
    refused: "address is immutable once set",
    by: "rule"
  },
  {
    name: "a host by its address gets a pool",
    plural: "remotemachines",
    spec: host,
    patches: [{ pool: "default" }],
    refused: "pool is immutable",
    by: "rule"
  },
  {
    name: "the pool is changed",
    plural: "remotemachines",
    spec: { pool: "default" },
    patches: [{ pool: "other" }],
    refused: "pool is immutable",
    by: "rule"
  },
  {
    name: "the pool is removed from a claimed machine",
    plural: "remotemachines",
    spec: { pool: "default" },
    patches: [claimed, { pool: null }],
    refused: "pool is immutable",
    by: "rule"
  },
  {
    name: "the providerID is changed",
    plural: "remotemachines",
    spec: host,
    patches: [{ providerID }, { providerID: "remote-machine://10.0.0.9:22" }],
    refused: "providerID is immutable once set",
    by: "rule"
  },
  {
    name: "the providerID is removed",
    plural: "remotemachines",
    spec: host,
    patches: [{ providerID }, { providerID: null }],
    refused: "providerID is immutable once set",
    by: "rule"
  },
  {
    name: "user, key, sudo and cleaning are followed live",
    plural: "remotemachines",
    spec: host,
    patches: [{ providerID }, { user: "ops", useSudo: true, sshKeyRef: { name: "new" }, customCleanUpCommands: ["x"] }]
  }
]

const pools: ReadonlyArray<AdmissionCase> = [
  { name: "a host of a pool", plural: "pooledremotemachines", spec: { pool: "default", machine: host } },
  {
    name: "a host of a pool without a key",
    plural: "pooledremotemachines",
    spec: { pool: "default", machine: { address: "10.0.0.1" } },
    refused: "spec.machine.sshKeyRef: Required value",
    by: "schema"
  },
  {
    name: "a host of no pool",
    plural: "pooledremotemachines",
    spec: { machine: host },
    refused: "spec.pool: Required value",
    by: "schema"
  },
  {
    name: "a template with a pool",
    plural: "remotemachinetemplates",
    spec: { template: { spec: { pool: "default" } } }
  },
  {
    name: "a template with a provisionJob",
    plural: "remotemachinetemplates",
    spec: { template: { spec: { pool: "default", provisionJob: { scpCommand: "scp -O" } } } }
  },
  {
    name: "a template without a pool",
    plural: "remotemachinetemplates",
    spec: { template: { spec: {} } },
    refused: "spec.template.spec.pool: Required value",
    by: "schema"
  },
  { name: "a cluster without a spec", plural: "remoteclusters" },
  { name: "a cluster with a null spec, as the page has it", plural: "remoteclusters", spec: null },
  {
    name: "the endpoint that a control plane writes",
    plural: "remoteclusters",
    spec: { controlPlaneEndpoint: { host: "", port: 0 } },
    patches: [{ controlPlaneEndpoint: { host: "10.0.0.1", port: 6443 } }]
  },
  { name: "a cluster template with a null spec", plural: "remoteclustertemplates", spec: { template: { spec: null } } }
]

const secret = { secretRef: { name: "s", key: "k" } }
const configMap = { configMapRef: { name: "c", key: "k" } }
const worker = (spec: unknown): Pick<AdmissionCase, "plural" | "spec"> => ({ plural: "k0sworkerconfigs", spec })
const files = (...list: ReadonlyArray<Json>) => worker({ files: list })
const tagVersion = "write the version with +k0s."
const oneContent = "exactly one of content and contentFrom is required"
const oneSource = "exactly one of secretRef and configMapRef is required"

const configs: ReadonlyArray<AdmissionCase> = [
  { name: "no worker spec", plural: "k0sworkerconfigs" },
  { name: "a null worker spec", ...worker(null) },
  { name: "a version", ...worker({ version: "v1.27.2+k0s.0" }) },
  { name: "a version of an OCI tag", ...worker({ version: "v1.27.2-k0s.0" }), refused: tagVersion, by: "rule" },
  {
    name: "a version changed to an OCI tag",
    ...worker({ version: "v1.27.2+k0s.0" }),
    patches: [{ version: "v1.27.3-k0s.0" }],
    refused: tagVersion,
    by: "rule"
  },
  {
    name: "a template with a version of an OCI tag",
    plural: "k0sworkerconfigtemplates",
    spec: { template: { spec: { version: "v1.27.2-k0s.0" } } },
    refused: tagVersion,
    by: "rule"
  },
  { name: "files of both sorts", ...files({ path: "/a", content: "x" }, { path: "/b", contentFrom: secret }) },
  { name: "an empty file", ...files({ path: "/a", content: "" }) },
  {
    name: "a file with both",
    ...files({ path: "/a", content: "", contentFrom: secret }),
    refused: oneContent,
    by: "rule"
  },
  { name: "a file with neither", ...files({ path: "/a" }), refused: oneContent, by: "rule" },
  {
    name: "a file from two sources",
    ...files({ path: "/a", contentFrom: { ...secret, ...configMap } }),
    refused: oneSource,
    by: "rule"
  },
  { name: "a file from no source", ...files({ path: "/a", contentFrom: {} }), refused: oneSource, by: "rule" },
  {
    name: "two files of one path",
    ...files({ path: "/a", content: "x" }, { path: "/a", content: "y" }),
    refused: "Duplicate value",
    by: "schema"
  },
  { name: "a relative path", ...files({ path: "a", content: "x" }), refused: "spec.files[0].path", by: "schema" },
  { name: "a directory as path", ...files({ path: "/a/", content: "x" }), refused: "spec.files[0].path", by: "schema" },
  {
    name: "a path with a line break",
    ...files({ path: "/a\nb", content: "x" }),
    refused: "spec.files[0].path",
    by: "schema"
  },
  {
    name: "a reference without a key",
    ...files({ path: "/a", contentFrom: { secretRef: { name: "s" } } }),
    refused: "spec.files[0].contentFrom.secretRef.key: Required value",
    by: "schema"
  },
  {
    name: "a reference with an empty name",
    ...files({ path: "/a", contentFrom: { configMapRef: { name: "", key: "k" } } }),
    refused: "spec.files[0].contentFrom.configMapRef.name",
    by: "schema"
  },
  { name: "an empty version, as Go clients write it", ...worker({ version: "" }) },
  { name: "a version with a blank", ...worker({ version: "v1.27 2" }), refused: "spec.version", by: "schema" },
  {
    name: "a command longer than Linux takes",
    ...worker({ preStartCommands: ["true", "x".repeat(120 * 1024 + 1)] }),
    refused: "spec.preStartCommands[1]",
    by: "schema"
  },
  {
    name: "a command with a NUL",
    ...worker({ postStartCommands: ["a\0b"] }),
    refused: "spec.postStartCommands[0]",
    by: "schema"
  },
  {
    name: "a relative install directory",
    ...worker({ k0sInstallDir: "bin" }),
    refused: "spec.k0sInstallDir",
    by: "schema"
  },
  {
    name: "a relative working directory of a worker",
    ...worker({ workingDir: "./k0s" }),
    refused: "spec.workingDir",
    by: "schema"
  },
  { name: "octal permissions with a leading zero more", ...files({ path: "/a", content: "x", permissions: "01755" }) },
  {
    name: "permissions that no octal number is",
    ...files({ path: "/a", content: "x", permissions: "0899" }),
    refused: "spec.files[0].permissions",
    by: "schema"
  },
  { name: "empty permissions, which are the default", ...files({ path: "/a", content: "x", permissions: "" }) },
  { name: "octal permissions", ...files({ path: "/a", content: "x", permissions: "0755" }) },
  {
    name: "permissions in letters",
    ...files({ path: "/a", content: "x", permissions: "u=rw" }),
    refused: "spec.files[0].permissions",
    by: "schema"
  },
  { name: "user data from a ConfigMap", ...worker({ customUserDataRef: configMap }) },
  { name: "user data from nowhere", ...worker({ customUserDataRef: {} }), refused: oneSource, by: "rule" },
  { name: "empty places, which are the defaults", ...worker({ workingDir: "", k0sInstallDir: "", downloadURL: "" }) },
  { name: "a download from https", ...worker({ downloadURL: "https://example.com/k0s" }) },
  { name: "a download from a registry", ...worker({ downloadURL: "oci://example.com/k0s:v1" }) },
  {
    name: "a download from elsewhere",
    ...worker({ downloadURL: "ftp://example.com/k0s" }),
    refused: "spec.downloadURL",
    by: "schema"
  },
  { name: "ignition", ...worker({ ignition: { variant: "flatcar", version: "1.0.0", additionalConfig: "a: b" } }) },
  {
    name: "ignition of an unknown variant",
    ...worker({ ignition: { variant: "arch", version: "1.0.0" } }),
    refused: "spec.ignition.variant",
    by: "schema"
  },
  ...["fcos", "flatcar", "openshift", "r4e", "fiot"].map(
    (variant): AdmissionCase => ({
      name: `a version that ${variant} never had`,
      ...worker({ ignition: { variant, version: "2.0.0" } }),
      refused: `version of ${variant} must be one of`,
      by: "rule"
    })
  ),
  {
    name: "ignition and user data of cloud-init",
    ...worker({ ignition: { variant: "fcos", version: "1.5.0" }, customUserDataRef: configMap }),
    refused: "customUserDataRef is for cloud-init",
    by: "rule"
  },
  {
    name: "a template with ignition and user data of cloud-init",
    plural: "k0sworkerconfigtemplates",
    spec: {
      template: { spec: { ignition: { variant: "fcos", version: "1.5.0" }, customUserDataRef: configMap } }
    },
    refused: "customUserDataRef is for cloud-init",
    by: "rule"
  },
  {
    name: "a controller, as K0sControlPlane makes it",
    plural: "k0scontrollerconfigs",
    spec: {
      version: "v1.27.2-k0s.0",
      k0s: { apiVersion: "k0s.k0sproject.io/v1beta1", kind: "ClusterConfig", spec: { api: { extraArgs: { a: "b" } } } },
      files: [{ path: "/empty" }],
      tunneling: {}
    }
  },
  {
    name: "a controller without a version",
    plural: "k0scontrollerconfigs",
    spec: {},
    refused: "spec.version: Required value",
    by: "schema"
  },
  {
    name: "a controller's file with both",
    plural: "k0scontrollerconfigs",
    spec: { version: "v1.27.2+k0s.0", files: [{ path: "/a", content: "x", contentFrom: secret }] },
    refused: "content and contentFrom exclude each other",
    by: "rule"
  }
]

export const admissionCases: ReadonlyArray<AdmissionCase> = [...machines, ...pools, ...configs]
