/**
 * Owns which modules of a cloud-config are honoured over SSH, which are knowingly ignored, and which are refused; and the
 * steps that honour the smaller ones (ModuleScripts.ts has their scripts). write_files, bootcmd and runcmd are
 * CloudConfigParse.ts's.
 *
 * Honoured is what is simple, the same on every host, and does no harm to a host that serves others later. Accounts,
 * keys, disks, mounts and reboots are not: they are refused by name, never skipped.
 */
import * as Result from "effect/Result"
import { type BootstrapDataError, dataError } from "./BootstrapDataError.ts"
import { type Config, isRecord } from "./CloudConfigMerge.ts"
import {
  chronySources,
  hostnameScript,
  ntpScript,
  packagesScript,
  timesyncdConfig,
  timezoneScript
} from "./ModuleScripts.ts"
import { type BootstrapFile, namedStep, type Step } from "./Payload.ts"
import { isOn } from "./WriteFiles.ts"

type Read<A> = Result.Result<A, BootstrapDataError>

const invalid = (message: string): Read<never> => Result.fail(dataError("BadField", message))

/** How cloud-init itself runs, logs and talks, or what a server does not show: nothing to do on a host. */
const IGNORED: ReadonlySet<string> = new Set([
  "byobu_by_default",
  "cloud_config_modules",
  "cloud_final_modules",
  "cloud_init_modules",
  "datasource",
  "datasource_list",
  "debug",
  "def_log_file",
  "final_message",
  "keyboard",
  "launch-index",
  "locale",
  "locale_configfile",
  "log_cfgs",
  "merge_how",
  "merge_type",
  "no_ssh_fingerprints",
  "output",
  "random_seed",
  "ssh_fp_console_blacklist",
  "ssh_key_console_blacklist",
  "ssh_quiet_keygen",
  "syslog_fix_perms",
  "vendor_data"
])

const HONOURED: ReadonlySet<string> = new Set([
  "bootcmd",
  "fqdn",
  "hostname",
  "ntp",
  "package_update",
  "package_upgrade",
  "packages",
  "prefer_fqdn_over_hostname",
  "preserve_hostname",
  "runcmd",
  "timezone",
  "write_files"
])

/** What asks for nothing when it is off, and for what can't be done when it is on. */
const asksForNothing = (key: string, value: unknown): boolean => {
  if (value === null || value === false) return true
  if (Array.isArray(value)) return value.length === 0 || (key === "users" && value.every((user) => user === "default"))
  if (key === "growpart" && isRecord(value)) return value["mode"] === "off" || value["mode"] === false
  return isRecord(value) && Object.keys(value).length === 0
}

/** A key is a module's name; anything else may be a secret in the wrong place. */
const shown = (key: string): string => (/^[a-z0-9_-]{1,40}$/i.test(key) ? key : "(a key that names no module)")

const NTP_KEYS = new Set(["enabled", "servers", "pools", "ntp_client"])
const NTP_CLIENTS = new Set(["auto", "chrony", "systemd-timesyncd"])

const unsupportedNtp = (ntp: unknown): ReadonlyArray<string> => {
  if (!isRecord(ntp) || !wantsNtp(ntp)) return []
  const client = ntp["ntp_client"]
  return [
    ...Object.keys(ntp)
      .filter((key) => !NTP_KEYS.has(key) && !asksForNothing(key, ntp[key]))
      .map((key) => `ntp.${shown(key)}`),
    ...(client === undefined || client === null || (typeof client === "string" && NTP_CLIENTS.has(client))
      ? []
      : ["ntp.ntp_client (chrony and systemd-timesyncd can be had)"])
  ]
}

/** Everything that the config asks for and that can't be done over SSH. */
export const unsupportedModules = (config: Config): ReadonlyArray<string> => [
  ...Object.entries(config)
    .filter(([key, value]) => !IGNORED.has(key) && !HONOURED.has(key) && !asksForNothing(key, value))
    .map(([key]) => shown(key)),
  ...unsupportedNtp(config["ntp"])
]

// -------------------------------------------------------------------------------------------- what is honoured

export interface Modules {
  readonly files: ReadonlyArray<BootstrapFile>
  /** Before runcmd, in cloud-init's order. */
  readonly steps: ReadonlyArray<Step>
}

const words = (config: Config, key: string, where: string): Read<ReadonlyArray<string>> => {
  const value = config[key]
  if (value === undefined || value === null) return Result.succeed([])
  const list = Array.isArray(value) ? value : [value]
  return list.every((one): one is string => typeof one === "string" && /^[\x21-\x7e]{1,255}$/.test(one))
    ? Result.succeed(list)
    : invalid(`${where} is not a list of words`)
}

const HOST_NAME = /^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?)*$/i
/** Linux' own bound. */
const MAX_HOST_NAME_LENGTH = 64

const hostname = (config: Config): Read<ReadonlyArray<Step>> => {
  if (isOn(config["preserve_hostname"])) return Result.succeed([])
  const [name, fqdn] = [config["hostname"] ?? undefined, config["fqdn"] ?? undefined]
  for (const [key, value] of Object.entries({ hostname: name, fqdn })) {
    if (value !== undefined && !(typeof value === "string" && HOST_NAME.test(value)))
      return invalid(`${key} is not a host name`)
  }
  const short = typeof name === "string" ? name : typeof fqdn === "string" ? fqdn.split(".")[0] : undefined
  const wanted = isOn(config["prefer_fqdn_over_hostname"]) && typeof fqdn === "string" ? fqdn : short
  if (wanted === undefined) return Result.succeed([])
  if (wanted.length > MAX_HOST_NAME_LENGTH) return invalid(`the host name is longer than ${MAX_HOST_NAME_LENGTH}`)
  return Result.succeed([namedStep("set the host name", hostnameScript(wanted))])
}

const timezone = (config: Config): Read<ReadonlyArray<Step>> => {
  const zone = config["timezone"]
  if (zone === undefined || zone === null) return Result.succeed([])
  return typeof zone === "string" && /^[A-Za-z0-9_+-]+(\/[A-Za-z0-9_+-]+)*$/.test(zone)
    ? Result.succeed([namedStep("set the time zone", timezoneScript(zone))])
    : invalid("timezone is not a name like Europe/Berlin")
}

/** `ntp:` with nothing below asks for the distribution's own servers. */
const wantsNtp = (ntp: unknown): boolean => !isRecord(ntp) || ntp["enabled"] === undefined || isOn(ntp["enabled"])

const ntp = (config: Config): Read<Modules> =>
  Result.gen(function* () {
    const ntp = config["ntp"]
    if (ntp === undefined || ntp === false || !wantsNtp(ntp)) return { files: [], steps: [] }
    const settings = isRecord(ntp) ? ntp : {}
    if (!isRecord(ntp) && ntp !== null) return yield* invalid("ntp is not a mapping")
    const servers = yield* words(settings, "servers", "ntp.servers")
    const pools = yield* words(settings, "pools", "ntp.pools")
    const own = servers.length + pools.length > 0
    return {
      files: own ? [timesyncdConfig([...servers, ...pools]), chronySources(servers, pools)] : [],
      steps: [namedStep("synchronise the clock", ntpScript(own))]
    }
  })

/** A name, or a name and a version; debconf's and snap's forms are other modules' business. */
const packages = (config: Config): Read<ReadonlyArray<Step>> =>
  Result.gen(function* () {
    const list = config["packages"] ?? []
    if (!Array.isArray(list)) return yield* invalid("packages is not a list")
    const wanted: Array<{ readonly name: string; readonly version?: string }> = []
    for (const [index, entry] of list.entries()) {
      const [name, version, ...more]: ReadonlyArray<unknown> = Array.isArray(entry) ? entry : [entry]
      const isWord = (text: unknown): text is string => typeof text === "string" && /^[\w.+:~^/-]{1,200}$/.test(text)
      if (!isWord(name) || name.startsWith("-") || (version !== undefined && !isWord(version)) || more.length > 0)
        return yield* invalid(`packages[${index}] is neither a name nor a list of name and version`)
      wanted.push(version === undefined ? { name } : { name, version })
    }
    const update = isOn(config["package_update"])
    const upgrade = isOn(config["package_upgrade"])
    if (wanted.length === 0 && !update && !upgrade) return []
    return [namedStep("install packages", packagesScript({ upgrade, packages: wanted }))]
  })

export const honouredModules = (config: Config): Read<Modules> =>
  Result.gen(function* () {
    const clock = yield* ntp(config)
    return {
      files: clock.files,
      steps: [...(yield* hostname(config)), ...clock.steps, ...(yield* timezone(config)), ...(yield* packages(config))]
    }
  })
