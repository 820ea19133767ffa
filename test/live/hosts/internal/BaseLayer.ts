/**
 * Owns the directory that all hosts of a pool see over this machine's own root: accounts, sshd and sudo settings, devices,
 * stand-ins, and what is hidden of this machine. Does not own a single host's files (Host.ts).
 * It lies on a tmpfs: overlayfs refuses a lower directory inside another one, and `/` is the other.
 */
import { execFileSync } from "node:child_process"
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { dirname, join } from "node:path"
import { writeOpenRc } from "./OpenRc.ts"

export type HostKind = "light" | "openrc" | "systemd"

export const guestDirectory = join(import.meta.dirname, "..", "guest")
/** Those that the demo's hosts have too. */
export const standInDirectory = join(import.meta.dirname, "../../../../src/simulation/shellhosts/guest")
const KEPT_HERE = ["drop-connections", "kill-matching"]

/** Accounts with the pool's key. `root` logs in too. */
export const accounts = [
  /** Password-less sudo. */
  { name: "machinist", uid: 2001 },
  /** sudo asks for a password it does not have. */
  { name: "nosudo", uid: 2002 },
  /** sudo refuses without a terminal. */
  { name: "ttysudo", uid: 2003 }
] as const

export type TestUser = "root" | (typeof accounts)[number]["name"]

const SSHD_CONFIG = `HostKey /etc/ssh/machinist_host_key
AuthorizedKeysFile /etc/ssh/machinist_keys/%u
StrictModes no
UseDNS no
PrintMotd no
PrintLastLog no
LogLevel QUIET
MaxStartups 1000
MaxSessions 100
LoginGraceTime 60
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PidFile none
`

const SSHD_UNIT = `[Unit]
Description=OpenSSH on this test host's own address
After=network.target
[Service]
EnvironmentFile=/etc/machinist-test/sshd.env
RuntimeDirectory=sshd
RuntimeDirectoryMode=0755
ExecStart=/usr/sbin/sshd -D -f /etc/ssh/machinist_sshd_config -o ListenAddress=\${ADDRESS} -o Port=\${PORT}
KillMode=process
Restart=always
RestartSec=100ms
[Install]
WantedBy=multi-user.target
`

/** pam_systemd (in common-session) makes logind sessions, as on any Debian host; no motd, whose scripts are slow. */
const SSHD_PAM = `auth include common-auth
account include common-account
session include common-session
password include common-password
`

const DEVICES: ReadonlyArray<readonly [string, number, number]> = [
  ["null", 1, 3],
  ["zero", 1, 5],
  ["full", 1, 7],
  ["random", 1, 8],
  ["urandom", 1, 9],
  ["tty", 5, 0]
]

const DEVICE_LINKS: ReadonlyArray<readonly [string, string]> = [
  ["ptmx", "pts/ptmx"],
  ["fd", "/proc/self/fd"],
  ["stdin", "fd/0"],
  ["stdout", "fd/1"],
  ["stderr", "fd/2"]
]

/** What this machine may have and a fresh host has not. */
const HIDDEN = [
  "/var/lib/machinist",
  "/var/lib/k0s",
  "/var/lib/cloud",
  "/var/tmp/machinist-hosts",
  "/etc/k0s",
  "/etc/k0s.token",
  "/etc/k0smotron",
  "/etc/cni",
  "/etc/kubernetes",
  "/etc/init.d/k0sworker",
  "/etc/init.d/k0scontroller",
  "/usr/local/bin/k0s",
  "/usr/bin/k0s"
]

/** Hosts without systemd as PID 1 have none of its commands either: a script that looks for them finds the truth. */
const HIDDEN_ON_LIGHT = ["systemctl", "systemd-run", "journalctl", "loginctl", "busctl"].map(
  (name) => `/usr/bin/${name}`
)

/** Units that reach for hardware, for the kernel this machine shares with its hosts, or for the network. */
const MASKED_UNITS = [
  "getty.target",
  "console-getty.service",
  "systemd-journald-audit.socket",
  "systemd-timesyncd.service",
  "systemd-udevd.service",
  "systemd-udev-trigger.service",
  "systemd-networkd.service",
  "systemd-networkd.socket",
  "systemd-resolved.service",
  "systemd-remount-fs.service",
  "systemd-ask-password-wall.path",
  "systemd-initctl.socket",
  "systemd-update-utmp-runlevel.service",
  "systemd-oomd.service"
]

const KEPT_SYSINIT_UNITS = [
  "systemd-journald.service",
  "systemd-tmpfiles-setup.service",
  "systemd-journal-flush.service"
]

const unitDirectory = "/lib/systemd/system"

const put = (root: string, path: string, content: string, mode = 0o644): void => {
  const file = join(root, path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, content)
  chmodSync(file, mode)
}

const makeNode = (path: string, mode: string, major: number, minor: number): void => {
  mkdirSync(dirname(path), { recursive: true })
  execFileSync("mknod", ["-m", mode, path, "c", `${major}`, `${minor}`])
}

/** In overlayfs a character device 0:0 hides the name below it; one device serves under many names. */
const hide = (root: string, path: string): void => {
  const target = join(root, path)
  if (existsSync(target)) return
  mkdirSync(dirname(target), { recursive: true })
  const whiteout = join(root, ".whiteout")
  if (!existsSync(whiteout)) makeNode(whiteout, "000", 0, 0)
  linkSync(whiteout, target)
}

const hideContents = (root: string, path: string): void => {
  mkdirSync(join(root, path), { recursive: true })
  if (existsSync(path)) for (const name of readdirSync(path)) hide(root, join(path, name))
}

const lines = (path: string): ReadonlyArray<string> =>
  readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")

const writeAccounts = (root: string, publicKey: string): void => {
  const isSystem = (line: string): boolean => {
    const uid = Number(line.split(":")[2])
    return uid < 1000 || uid === 65534
  }
  // /bin/sh for root: a login shell that sources a heavy profile makes every exec slow.
  const passwd = lines("/etc/passwd")
    .filter(isSystem)
    .map((line) => (line.startsWith("root:") ? "root:x:0:0:root:/root:/bin/sh" : line))
  const names = new Set(passwd.map((line) => line.split(":")[0]))
  const group = lines("/etc/group").filter(isSystem)
  const ours = accounts.map(({ name, uid }) => `${name}:x:${uid}:${uid}::/home/${name}:/bin/sh`)
  put(root, "/etc/passwd", `${[...passwd, ...ours].join("\n")}\n`)
  put(root, "/etc/group", `${[...group, ...accounts.map(({ name, uid }) => `${name}:x:${uid}:`)].join("\n")}\n`)
  // `*`: no password matches, and sshd does not take the account for a locked one.
  const shadow = [...names, ...accounts.map(({ name }) => name)].map((name) => `${name}:*:19000:0:99999:7:::`)
  put(root, "/etc/shadow", `${shadow.join("\n")}\n`, 0o640)
  put(
    root,
    "/etc/sudoers.d/machinist-test",
    "machinist ALL=(ALL:ALL) NOPASSWD: ALL\nnosudo ALL=(ALL:ALL) ALL\nttysudo ALL=(ALL:ALL) NOPASSWD: ALL\nDefaults:ttysudo requiretty\n",
    0o440
  )
  for (const { name } of [{ name: "root" }, ...accounts]) put(root, `/etc/ssh/machinist_keys/${name}`, publicKey)
  hideContents(root, "/root")
  chmodSync(join(root, "root"), 0o700)
  hideContents(root, "/home")
  for (const { name, uid } of accounts) {
    mkdirSync(join(root, "home", name))
    chownSync(join(root, "home", name), uid, uid)
  }
}

const writeDevices = (root: string): void => {
  for (const [name, major, minor] of DEVICES) makeNode(join(root, "dev", name), "666", major, minor)
  for (const [name, target] of DEVICE_LINKS) symlinkSync(target, join(root, "dev", name))
  for (const name of ["pts", "shm"]) mkdirSync(join(root, "dev", name))
}

const writeStandIns = (root: string): void => {
  for (const name of ["curl", "oras", "witness"]) {
    put(root, `/usr/local/bin/${name}`, readFileSync(join(standInDirectory, name), "utf8"), 0o755)
  }
  for (const name of ["k0s", "get-k0s.sh", "not-found", "common.sh", "drop-connections", "kill-matching"]) {
    const directory = KEPT_HERE.includes(name) ? guestDirectory : standInDirectory
    put(root, `/usr/local/lib/machinist-test/${name}`, readFileSync(join(directory, name), "utf8"))
  }
  mkdirSync(join(root, "witness"))
  for (const name of ["fail", "hang"]) mkdirSync(join(root, "etc/machinist-test", name), { recursive: true })
}

const writeLight = (root: string): void => {
  for (const path of HIDDEN_ON_LIGHT) hide(root, path)
}

const writeOpenRcHost = (root: string): void => {
  writeLight(root)
  // OpenRC reads every script there is, and would take this machine's own for services of the host.
  for (const path of ["/etc/init.d", "/etc/conf.d", "/etc/runlevels"]) hideContents(root, path)
  writeOpenRc(root)
}

const writeSystemd = (root: string): void => {
  hideContents(root, "/etc/systemd/system")
  const link = (path: string, target: string): void => {
    const file = join(root, path)
    mkdirSync(dirname(file), { recursive: true })
    rmSync(file, { force: true }) // it may be what hides this machine's own
    symlinkSync(target, file)
  }
  const mask = (name: string): void => link(`/etc/systemd/system/${name}`, "/dev/null")
  for (const wants of ["sysinit.target.wants", "timers.target.wants"]) {
    const directory = join(unitDirectory, wants)
    if (!existsSync(directory)) continue
    for (const name of readdirSync(directory)) if (!KEPT_SYSINIT_UNITS.includes(name)) mask(name)
  }
  for (const name of MASKED_UNITS) mask(name)
  // Generators would turn this machine's init scripts and fstab into units.
  for (const name of readdirSync("/lib/systemd/system-generators")) {
    link(`/etc/systemd/system-generators/${name}`, "/dev/null")
  }
  link("/etc/systemd/system/default.target", `${unitDirectory}/multi-user.target`)
  put(root, "/etc/systemd/system/machinist-sshd.service", SSHD_UNIT)
  const wants = "/etc/systemd/system/multi-user.target.wants"
  rmSync(join(root, wants), { force: true })
  hideContents(root, wants)
  link(`${wants}/machinist-sshd.service`, "../machinist-sshd.service")
  put(root, "/etc/pam.d/sshd", SSHD_PAM)
}

/** Newer sshd delays or refuses an address after failed logins; all of a test's connections come from one. */
const penaltiesOff = (config: string, scratch: string): string => {
  const file = join(scratch, "sshd_config_probe")
  writeFileSync(file, "PerSourcePenalties no\n")
  try {
    execFileSync("/usr/sbin/sshd", ["-T", "-f", file], { stdio: "ignore" })
    return `${config}PerSourcePenalties no\n`
  } catch {
    return config
  } finally {
    rmSync(file)
  }
}

/** Fills `root` (on a tmpfs) for hosts of `kind`. `publicKey` is one line for authorized_keys. */
export const writeBaseLayer = (root: string, kind: HostKind, publicKey: string): void => {
  writeAccounts(root, publicKey)
  writeDevices(root)
  writeStandIns(root)
  for (const path of HIDDEN) hide(root, path)
  put(root, "/etc/environment", "")
  put(root, "/etc/fstab", "")
  put(
    root,
    "/etc/ssh/machinist_sshd_config",
    penaltiesOff(`${SSHD_CONFIG}UsePAM ${kind === "systemd" ? "yes" : "no"}\n`, root)
  )
  for (const path of ["proc", "sys", "run", "tmp"]) mkdirSync(join(root, path), { recursive: true })
  chmodSync(join(root, "var/tmp"), 0o1777)
  if (kind === "light") writeLight(root)
  else if (kind === "openrc") writeOpenRcHost(root)
  else writeSystemd(root)
}
