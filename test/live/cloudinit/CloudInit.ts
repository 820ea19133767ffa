/**
 * Owns a first boot under Debian's real cloud-init: its own units on a host with a real systemd (TestHosts), user data
 * from a NoCloud seed, and what came of it. Also what the examples of the pages call that can't run here, as recording
 * stand-ins. Not what is rendered.
 */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import { JINJA_HEADER } from "../../../src/domain/bootstrap/CloudConfigRender.ts"
import { SENTINEL_PATH } from "../../../src/domain/bootstrap/CommonInput.ts"
import { BOOTSTRAP_LOG } from "../../../src/domain/bootstrap/Frame.ts"
import { standInDirectory } from "../hosts/internal/BaseLayer.ts"
import * as TestHosts from "../hosts/TestHosts.ts"

export const unavailable: string | undefined =
  TestHosts.systemdUnavailable ??
  (existsSync("/usr/bin/cloud-init") ? undefined : "missing cloud-init: run scripts/install-test-packages.sh")

/** Only what runs a bootstrap: the rest would set up accounts, keys and disks of a machine that is none. */
const CLOUD_CFG = `datasource_list: [NoCloud]
datasource: {NoCloud: {fs_label: null}}
network: {config: disabled}
cloud_init_modules: [bootcmd, write-files]
cloud_config_modules: [runcmd]
cloud_final_modules: [write-files-deferred, scripts-user]
system_info: {distro: debian}
`
const UNITS = ["cloud-init-local", "cloud-init", "cloud-config", "cloud-final"]

/** Tell the witness, and change nothing: this kernel is not theirs, and there is no registry to pull from. */
const PRETENDED = ["apt-get", "docker", "sysctl", "kubectl"]

const witnessUnit = (name: string): string => `[Unit]
Description=Stands in for ${name}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/bin/witness unit ${name}
[Install]
WantedBy=multi-user.target
`

/** What the pages' examples expect on a host. */
export const installStandIns = Effect.fnUntraced(function* (host: TestHosts.TestHost) {
  const pretend = readFileSync(join(standInDirectory, "pretend"), "utf8")
  for (const name of PRETENDED) yield* TestHosts.writeFile(host, `/usr/local/sbin/${name}`, pretend, "0755")
  const docker = readFileSync(join(standInDirectory, "get-docker.sh"), "utf8")
  yield* TestHosts.writeFile(host, "/usr/local/lib/machinist-test/get-docker.sh", docker)
  for (const name of ["docker", "monitoring-agent"])
    yield* TestHosts.writeFile(host, `/etc/systemd/system/${name}.service`, witnessUnit(name))
  yield* TestHosts.writeFile(host, "/etc/sysctl.conf", "")
  yield* TestHosts.execOk(host, "systemctl daemon-reload")
})

export interface Booted {
  /** Errors that cloud-init itself counts. */
  readonly errors: ReadonlyArray<string>
  readonly sentinel: boolean
  /** BOOTSTRAP_LOG, without the times. */
  readonly log: ReadonlyArray<string>
  readonly warnings: ReadonlyArray<string>
  readonly output: string
}

const text = (host: TestHosts.TestHost, path: string) =>
  Effect.map(TestHosts.readFile(host, path), (content) => content ?? "")

const linesOf = (content: string): ReadonlyArray<string> => content.split("\n").filter((line) => line !== "")

export const readLog = (host: TestHosts.TestHost) =>
  Effect.map(text(host, BOOTSTRAP_LOG), (content) => linesOf(content).map((line) => line.replace(/^\S+Z /, "")))

export const hasSentinel = (host: TestHosts.TestHost) =>
  Effect.map(TestHosts.readFile(host, SENTINEL_PATH), (content) => content !== undefined)

/** The first boot of an instance, through all of cloud-init's stages. */
export const firstBoot = Effect.fnUntraced(function* (host: TestHosts.TestHost, userData: Uint8Array) {
  yield* TestHosts.execOk(host, "rm -rf /etc/cloud/cloud.cfg.d && mkdir -p /etc/cloud/cloud.cfg.d")
  yield* TestHosts.writeFile(host, "/etc/cloud/cloud.cfg", CLOUD_CFG)
  yield* TestHosts.writeFile(host, "/var/lib/cloud/seed/nocloud/user-data", userData)
  yield* TestHosts.writeFile(host, "/var/lib/cloud/seed/nocloud/meta-data", `instance-id: i-${host.name}\n`)
  // Each waits for its end; the last fails when a script did.
  for (const unit of UNITS) yield* TestHosts.exec(host, `systemctl start ${unit}`)
  const result: { readonly v1: { readonly errors: ReadonlyArray<string> } } = JSON.parse(
    yield* text(host, "/run/cloud-init/result.json")
  )
  const booted: Booted = {
    errors: result.v1.errors,
    sentinel: yield* hasSentinel(host),
    log: yield* readLog(host),
    warnings: linesOf(yield* text(host, "/var/log/cloud-init.log")).filter((line) => /WARNING|ERROR/.test(line)),
    output: (yield* TestHosts.exec(host, "cat /var/log/cloud-init-output.log; journalctl -o cat -u cloud-final")).stdout
  }
  return booted
})

/** What `cloud-init schema` says against a config; empty: nothing. It renders no templates, so it gets what comes of one. */
export const schemaErrors = Effect.fnUntraced(function* (host: TestHosts.TestHost, userData: Uint8Array) {
  const config = Buffer.from(userData).toString("utf8").replace(`${JINJA_HEADER}\n`, "")
  yield* TestHosts.writeFile(host, "/root/user-data", config)
  const { code, stderr, stdout } = yield* TestHosts.exec(host, "cloud-init schema --config-file /root/user-data")
  return code === 0 ? "" : `${stdout}${stderr}`
})
