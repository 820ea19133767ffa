/**
 * Owns what a host with OpenRC has more than a light one: OpenRC itself, unpacked from Debian's packages into the base
 * layer (installed on this machine it would replace its own rc), openrc-init as PID 1, and sshd as a service. What Alpine
 * or Gentoo would start at boot is not there. Does not own the rest of the layer (BaseLayer.ts).
 */
import { execFileSync } from "node:child_process"
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"

/** scripts/install-test-packages.sh puts them there. */
const DIRECTORY = join(process.env["MACHINIST_CACHE"] ?? join(homedir(), ".cache", "machinist"), "openrc")
const PACKAGES = ["openrc", "librc1", "libeinfo1"]

const archives = (): ReadonlyArray<string> =>
  existsSync(DIRECTORY)
    ? PACKAGES.flatMap((name) => readdirSync(DIRECTORY).find((file) => file.startsWith(`${name}_`)) ?? [])
    : []

export const openrcUnavailable: string | undefined =
  archives().length === PACKAGES.length ? undefined : "missing OpenRC: run scripts/install-test-packages.sh"

/** It finds out by itself where it runs, and must not take this for a host whose /proc and /dev are to be mounted. */
const RC_CONF = `rc_sys="lxc"
rc_parallel="NO"
rc_logger="NO"
rc_provide="net dns"
unicode="NO"
`

/** The host has the cgroups that it has: what k0s' service needs by this name changes nothing. */
const CGROUPS = `#!/sbin/openrc-run
description="Stands in for the control groups"
start() { return 0; }
stop() { return 0; }
`

const SSHD = `#!/sbin/openrc-run
description="OpenSSH on this test host's own address"
. /etc/machinist-test/sshd.env
supervisor=supervise-daemon
command=/usr/sbin/sshd
command_args="-D -f /etc/ssh/machinist_sshd_config -o ListenAddress=$ADDRESS -o Port=$PORT"
respawn_delay=1
respawn_max=0
start_pre() { checkpath -d -m 0755 /run/sshd; }
`

const put = (root: string, path: string, content: string, mode: number): void => {
  const file = join(root, path)
  rmSync(file, { force: true })
  writeFileSync(file, content)
  chmodSync(file, mode)
}

/** `/lib` and its like are links on a machine whose /usr is merged: a directory of that name would hide them. */
const merged = lstatSync("/sbin").isSymbolicLink()
const MOVED = ["--transform", "s,^\\./\\(s\\?bin\\|lib\\)\\(/\\|$\\),./usr/\\1\\2,"]

/** `root` is a base layer in which this machine's own init scripts are hidden already. */
export const writeOpenRc = (root: string): void => {
  for (const file of archives()) {
    const packed = execFileSync("dpkg-deb", ["--fsys-tarfile", join(DIRECTORY, file)], { maxBuffer: 64 * 1024 * 1024 })
    const unpack = ["-x", "-C", root, "--no-same-owner", "--exclude=./usr/share", ...(merged ? MOVED : [])]
    execFileSync("tar", unpack, { input: packed })
  }
  put(root, "/etc/rc.conf", RC_CONF, 0o644)
  // Of package insserv: it says what LSB's virtual services are, for init scripts that are none of OpenRC's.
  put(root, "/etc/insserv.conf", "", 0o644)
  put(root, "/etc/init.d/cgroups", CGROUPS, 0o755)
  put(root, "/etc/init.d/machinist-sshd", SSHD, 0o755)
  for (const level of ["sysinit", "boot", "nonetwork", "default", "shutdown"]) {
    const directory = join(root, "etc/runlevels", level)
    rmSync(directory, { recursive: true, force: true })
    mkdirSync(directory, { recursive: true })
  }
  symlinkSync("/etc/init.d/machinist-sshd", join(root, "etc/runlevels/default/machinist-sshd"))
}
