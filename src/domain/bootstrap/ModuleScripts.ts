/**
 * Owns the shell of the smaller cloud-config modules: POSIX sh, for the distributions that k0s, k3s, RKE2 and kubeadm run
 * on. Each may run again. When which is run is CloudConfigModules.ts's.
 */
import type { BootstrapFile } from "./Payload.ts"
import { quote } from "./ShellWords.ts"

const lines = (...parts: ReadonlyArray<string>): string => parts.join("\n")

const HAS = 'has() { command -v "$1" >/dev/null 2>&1; }'

export const hostnameScript = (name: string): string =>
  lines(
    "set -eu",
    HAS,
    `name=${quote(name)}`,
    "if [ -d /run/systemd/system ] && has hostnamectl; then",
    '  hostnamectl set-hostname "$name"',
    "else",
    "  printf '%s\\n' \"$name\" >/etc/hostname",
    '  hostname "$name"',
    "fi"
  )

export const timezoneScript = (zone: string): string =>
  lines(
    "set -eu",
    `zone=${quote(zone)}`,
    'if ! [ -f "/usr/share/zoneinfo/$zone" ]; then',
    '  echo "no time zone $zone below /usr/share/zoneinfo: install tzdata, or correct timezone" >&2',
    "  exit 1",
    "fi",
    'ln -sf "/usr/share/zoneinfo/$zone" /etc/localtime',
    "if [ -e /etc/timezone ]; then printf '%s\\n' \"$zone\" >/etc/timezone; fi"
  )

const file = (path: string, text: string): BootstrapFile => ({
  path,
  content: Buffer.from(`# Written by Machinist: ntp of the bootstrap data.\n${text}`, "utf8"),
  mode: "0644"
})

/** Files, so that cleaning takes them away; harmless to hosts that have the other client. */
export const timesyncdConfig = (servers: ReadonlyArray<string>): BootstrapFile =>
  file("/etc/systemd/timesyncd.conf.d/machinist.conf", `[Time]\nNTP=${servers.join(" ")}\n`)

const CHRONY_SOURCES = "/etc/chrony/sources.d"

export const chronySources = (servers: ReadonlyArray<string>, pools: ReadonlyArray<string>): BootstrapFile =>
  file(
    `${CHRONY_SOURCES}/machinist.sources`,
    [...servers.map((one) => `server ${one} iburst\n`), ...pools.map((one) => `pool ${one} iburst\n`)].join("")
  )

/** `own`: servers were named, and are in the files above. */
export const ntpScript = (own: boolean): string =>
  lines(
    "set -eu",
    HAS,
    "restart() {",
    "  if [ -d /run/systemd/system ]; then",
    '    systemctl enable "$1" >/dev/null 2>&1 || true',
    '    systemctl restart "$1"',
    '  elif has rc-service && rc-service --exists "$1"; then',
    '    rc-service "$1" restart',
    "  else",
    '    "/etc/init.d/$1" restart',
    "  fi",
    "}",
    "has_service() {",
    '  has systemctl && systemctl cat "$1.service" >/dev/null 2>&1 &&',
    '    [ "$(systemctl is-enabled "$1.service" 2>/dev/null)" != masked ]',
    "}",
    "if has chronyd; then",
    "  for config in /etc/chrony/chrony.conf /etc/chrony.conf; do",
    '    [ -f "$config" ] || continue',
    ...(own
      ? [
          `    grep -qE '^[[:space:]]*sourcedir[[:space:]]+${CHRONY_SOURCES}([[:space:]]|$)' "$config" ||`,
          `      printf '\\nsourcedir ${CHRONY_SOURCES}\\n' >>"$config"`
        ]
      : []),
    "    break",
    "  done",
    "  for service in chrony chronyd; do",
    '    if [ -e "/etc/init.d/$service" ] || has_service "$service"; then',
    '      restart "$service"',
    "      exit 0",
    "    fi",
    "  done",
    "fi",
    "if has_service systemd-timesyncd; then",
    "  restart systemd-timesyncd",
    "  exit 0",
    "fi",
    "echo 'ntp: this host has neither chrony nor systemd-timesyncd; name one in packages' >&2",
    "exit 1"
  )

interface Wanted {
  readonly upgrade: boolean
  readonly packages: ReadonlyArray<{ readonly name: string; readonly version?: string }>
}

const joined = (packages: Wanted["packages"], sign: string): string =>
  packages.map(({ name, version }) => quote(version === undefined ? name : `${name}${sign}${version}`)).join(" ")

/** The lists are always brought up to date first, as cloud-init does; a package that is there is no failure. */
export const packagesScript = ({ upgrade, packages }: Wanted): string => {
  const apt = "apt-get -q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
  const some = packages.length > 0
  const branch = (condition: string, ...commands: ReadonlyArray<string | false>): ReadonlyArray<string> => [
    condition,
    ...commands.filter((command) => command !== false).map((command) => `  ${command}`)
  ]
  const dnf = (tool: string): ReadonlyArray<string | false> => [
    `${tool} -q -y makecache`,
    upgrade && `${tool} -y upgrade`,
    some && `${tool} -y install ${joined(packages, "-")}`
  ]
  return lines(
    "set -eu",
    HAS,
    ...branch(
      "if has apt-get; then",
      "export DEBIAN_FRONTEND=noninteractive",
      "apt-get -q update",
      upgrade && `${apt} dist-upgrade`,
      some && `${apt} install ${joined(packages, "=")}`
    ),
    ...branch("elif has dnf; then", ...dnf("dnf")),
    ...branch("elif has yum; then", ...dnf("yum")),
    ...branch(
      "elif has zypper; then",
      "zypper --non-interactive --gpg-auto-import-keys refresh",
      upgrade && "zypper --non-interactive update",
      some && `zypper --non-interactive install ${joined(packages, "=")}`
    ),
    ...branch("elif has apk; then", "apk update", upgrade && "apk upgrade", some && `apk add ${joined(packages, "=")}`),
    "else",
    "  echo 'packages: this host has no package manager that is known (apt, dnf, yum, zypper, apk)' >&2",
    "  exit 1",
    "fi"
  )
}
