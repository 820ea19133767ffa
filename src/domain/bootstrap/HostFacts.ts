/**
 * Owns what bootstrap data may ask about its host through jinja: cloud-init's instance data (`v1.*`, `ds.meta_data.*`),
 * made of what was seen on the host and of what the machine's objects say. Rendering is Jinja.ts.
 *
 * Facts are taken down once, before a run begins, and kept with it: a host that a step renames must not get other
 * bootstrap data when the run is resumed.
 */
import { isIPv4, isIPv6 } from "node:net"
import * as Schema from "effect/Schema"

/** Absent: the host does not say. */
export const HostFacts = Schema.Struct({
  hostname: Schema.String,
  kernelRelease: Schema.optionalKey(Schema.String),
  /** As `uname -m` says it. */
  machine: Schema.optionalKey(Schema.String),
  /** `ID`, `VERSION_ID` and `VERSION_CODENAME` of /etc/os-release. */
  distro: Schema.optionalKey(Schema.String),
  distroVersion: Schema.optionalKey(Schema.String),
  distroRelease: Schema.optionalKey(Schema.String)
})
export type HostFacts = typeof HostFacts.Type

export interface Instance {
  readonly facts: HostFacts
  /** Of the claim: another tenancy is another instance, as on a cloud. */
  readonly id: string
  /** Name of the RemoteMachine. */
  readonly name: string
  /** Where SSH connects to: an IP address or a DNS name. */
  readonly address: string
  readonly zone?: string
}

export type InstanceData = { readonly [key: string]: string | InstanceData }

const present = (data: Readonly<Record<string, string | undefined>>): Record<string, string> =>
  Object.fromEntries(Object.entries(data).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])))

/** What cloud-init calls the standardised keys: also at the top level, without `v1.`. */
const standard = ({ facts, id, zone }: Instance): Record<string, string> =>
  present({
    availability_zone: zone,
    cloud_id: "machinist",
    cloud_name: "machinist",
    distro: facts.distro,
    distro_release: facts.distroRelease,
    distro_version: facts.distroVersion,
    instance_id: id,
    kernel_release: facts.kernelRelease,
    local_hostname: facts.hostname,
    machine: facts.machine,
    platform: "machinist",
    subplatform: "ssh",
    system_platform: "linux",
    variant: facts.distro
  })

export const instanceData = (instance: Instance): InstanceData => {
  const { facts, id, name, address, zone } = instance
  const v1 = standard(instance)
  return {
    ...v1,
    v1,
    ds: {
      meta_data: present({
        availability_zone: zone,
        hostname: facts.hostname,
        instance_id: id,
        local_hostname: facts.hostname,
        local_ipv4: isIPv4(address) ? address : undefined,
        local_ipv6: isIPv6(address) ? address : undefined,
        name
      })
    }
  }
}
