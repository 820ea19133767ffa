/**
 * Owns the shell functions that several of our commands share: service managers, bounded calls, a clock. POSIX sh with
 * BusyBox's tools; each is inlined into the commands that use it, because commands are shells of their own.
 */

/** `has TOOL` */
const HAS = `has() { command -v "$1" >/dev/null 2>&1; }`

/**
 * `manager UNIT` says who runs the unit. What runs as PID 1 decides, then where \`k0s install\` put the service, and only
 * then which tools happen to be installed: Debian has \`service\` under systemd, and systemctl in containers without it.
 */
const MANAGER = `manager() {
  if [ -d /run/systemd/system ] && has systemctl; then echo systemd
  elif [ -d /run/openrc ] && has rc-service; then echo openrc
  elif [ -x "/etc/init.d/$1" ]; then
    if has rc-service && head -n 1 "/etc/init.d/$1" | grep -q openrc-run; then echo openrc; else echo sysv; fi
  elif has systemctl; then echo systemd
  elif has rc-service; then echo openrc
  elif has service; then echo sysv
  else echo none
  fi
}`

/** `service_do ACTION UNIT` */
const SERVICE_DO = `service_do() {
  case $(manager "$2") in
    systemd) systemctl "$1" "$2" ;;
    openrc) rc-service "$2" "$1" ;;
    sysv) if [ -x "/etc/init.d/$2" ] && ! has service; then "/etc/init.d/$2" "$1"; else service "$2" "$1"; fi ;;
    *) echo "no supported service manager on this host: neither systemd, OpenRC nor SysV init was found" >&2; return 1 ;;
  esac
}`

export const SERVICE_FUNCTIONS = [HAS, MANAGER, SERVICE_DO].join("\n")

/** `active UNIT` */
export const ACTIVE = `active() {
  case $(manager "$1") in
    systemd) systemctl is-active --quiet "$1" ;;
    *) service_do status "$1" >/dev/null 2>&1 ;;
  esac
}`

/** Seconds one look at k0s may take: an API server that doesn't answer must not hang the loop. */
export const PROBE_SECONDS = 20

/** `bounded COMMAND…`; without timeout(1) the step's own limit has to do. Needs `has`. */
export const BOUNDED = `bounded() {
  if has timeout; then timeout ${PROBE_SECONDS} "$@"; else "$@"; fi
}`

/** Seconds since boot: the wall clock jumps when a fresh host first hears of the time. */
export const UPTIME = `uptime_seconds() { IFS=. read -r seconds rest </proc/uptime && echo "$seconds"; }`
