/**
 * Owns which fields a Butane configuration has, of all variants together: what is not here is refused by its name, for
 * a misspelled field would be lost in silence. Data only; the translation is Butane.ts'.
 * Source: Butane's configuration specifications (fcos 1.6.0, flatcar 1.1.0), less what needs files beside the YAML.
 */

export type Field = "string" | "integer" | "boolean" | "strings" | Fields | readonly [Fields]
export interface Fields {
  readonly [name: string]: Field
}

const header: Fields = { name: "string", value: "string" }
const verification: Fields = { hash: "string" }
/** Something to be fetched, or given `inline`. */
export const resource: Fields = {
  source: "string",
  inline: "string",
  compression: "string",
  http_headers: [header],
  verification
}
const owner: Fields = { id: "integer", name: "string" }
const node: Fields = { path: "string", overwrite: "boolean", user: owner, group: owner }

const partition: Fields = {
  label: "string",
  number: "integer",
  size_mib: "integer",
  start_mib: "integer",
  type_guid: "string",
  guid: "string",
  wipe_partition_entry: "boolean",
  should_exist: "boolean",
  resize: "boolean"
}

const clevis: Fields = {
  tang: [{ url: "string", thumbprint: "string", advertisement: "string" }],
  tpm2: "boolean",
  threshold: "integer",
  custom: { pin: "string", config: "string", needs_network: "boolean" }
}

const storage: Fields = {
  disks: [{ device: "string", wipe_table: "boolean", partitions: [partition] }],
  raid: [{ name: "string", level: "string", devices: "strings", spares: "integer", options: "strings" }],
  filesystems: [
    {
      device: "string",
      format: "string",
      path: "string",
      wipe_filesystem: "boolean",
      label: "string",
      uuid: "string",
      options: "strings",
      mount_options: "strings",
      with_mount_unit: "boolean"
    }
  ],
  luks: [
    {
      name: "string",
      device: "string",
      key_file: resource,
      label: "string",
      uuid: "string",
      options: "strings",
      open_options: "strings",
      discard: "boolean",
      wipe_volume: "boolean",
      clevis
    }
  ],
  files: [{ ...node, contents: resource, append: [resource], mode: "integer" }],
  directories: [{ ...node, mode: "integer" }],
  links: [{ ...node, target: "string", hard: "boolean" }]
}

const user: Fields = {
  name: "string",
  password_hash: "string",
  ssh_authorized_keys: "strings",
  uid: "integer",
  gecos: "string",
  home_dir: "string",
  no_create_home: "boolean",
  primary_group: "string",
  groups: "strings",
  no_user_group: "boolean",
  no_log_init: "boolean",
  shell: "string",
  should_exist: "boolean",
  system: "boolean"
}

export const BUTANE: Fields = {
  variant: "string",
  version: "string",
  ignition: {
    config: { merge: [resource], replace: resource },
    timeouts: { http_response_headers: "integer", http_total: "integer" },
    security: { tls: { certificate_authorities: [resource] } },
    proxy: { http_proxy: "string", https_proxy: "string", no_proxy: "strings" }
  },
  storage,
  systemd: {
    units: [
      {
        name: "string",
        enabled: "boolean",
        mask: "boolean",
        contents: "string",
        dropins: [{ name: "string", contents: "string" }]
      }
    ]
  },
  passwd: {
    users: [user],
    groups: [{ name: "string", gid: "integer", password_hash: "string", should_exist: "boolean", system: "boolean" }]
  },
  kernel_arguments: { should_exist: "strings", should_not_exist: "strings" }
}

/** Fields that Butane knows and we don't, and why. */
export const ELSEWHERE: Readonly<Record<string, string>> = {
  local: "names a file beside the YAML, and there is none: use inline",
  contents_local: "names a file beside the YAML, and there is none: use contents",
  ssh_authorized_keys_local: "names files beside the YAML, and there are none: use ssh_authorized_keys",
  trees: "names directories beside the YAML, and there are none: use storage.files",
  boot_device: "is not supported: write storage.disks, raid, filesystems and luks",
  grub: "is not supported: write the files it stands for",
  openshift: "is for MachineConfigs, which a machine that Cluster API makes does not take",
  metadata: "is for MachineConfigs, which a machine that Cluster API makes does not take"
}
