/**
 * Owns how a host is emptied again: the steps (k0s' own, or the user's), what is removed, and what verification looks
 * for; hosts/Protocol's `clean` request takes them as they are. Every step bears half-provisioned hosts: nothing of k0s
 * there is nothing to do. Running and verifying are the host layer's.
 */
import { posix } from "node:path"
import * as Result from "effect/Result"
import {
  DEFAULT_DATA_DIR,
  DEFAULT_K0S_INSTALL_DIR,
  DEFAULT_TOKEN_FILE,
  SENTINEL_PATH,
  tokenFileOf
} from "./bootstrap/CommonInput.ts"
import { hasControlCharacters, namedStep, type Payload, type Step } from "./bootstrap/Payload.ts"
import { ACTIVE, SERVICE_FUNCTIONS, UPTIME } from "./bootstrap/Shell.ts"
import { plainText, quote, shellWords } from "./bootstrap/ShellWords.ts"

/** Seconds for processes of k0s that no service manager stopped, before they are killed. */
const STOP_GRACE_SECONDS = 20
/** Seconds for etcd to take its member out; without quorum it never does. */
const LEAVE_SECONDS = 60
/** Tries of cleaning in which a member that can't leave holds everything up; a cluster may be gone for good. */
export const LEAVE_TRIES = 4
/** The step in which a controller's member does. */
export const LEAVE_STEP = "leave etcd"

export type K0sRole = "worker" | "controller"

export interface CleaningInput {
  /** `k0s`: ours or k0smotron's bootstrap kinds; `other`: nothing is known about what ran. */
  readonly bootstrap: "k0s" | "other"
  readonly role: K0sRole
  readonly k0sInstallDir?: string | undefined
  /** What `k0s install` was given; absent: k0s' default. */
  readonly kubeletRootDir?: string | undefined
  readonly dataDir?: string | undefined
  /** Of the bootstrap config: where the token file is. */
  readonly workingDir?: string | undefined
  /** The bootstrap fetched the k0s binary, so it goes too. */
  readonly downloadedK0s?: boolean | undefined
  /** Non-empty: they replace the default steps, and complete cleaning is the user's promise; still verified. */
  readonly customCleanUpCommands?: ReadonlyArray<string> | undefined
  /** Which try this is, from 1. */
  readonly tries?: number | undefined
  /** Files of the bootstrap data, as far as still known. */
  readonly files?: ReadonlyArray<{ readonly path: string; readonly append?: boolean }> | undefined
}

export interface Cleaning {
  readonly steps: ReadonlyArray<Step>
  readonly remove: ReadonlyArray<string>
  readonly verify: { readonly k0s: boolean; readonly paths: ReadonlyArray<string> }
}

/**
 * Files that belong to the host even when bootstrap data wrote them: without them nobody can log in, boot, or resolve
 * names. They stay, as changed.
 */
const HOSTS_OWN =
  /^\/etc\/(hosts|hostname|resolv\.conf|nsswitch\.conf|fstab|passwd|group|shadow|gshadow|sudoers(\.d\/.*)?|environment|profile|sysctl\.conf|machine-id|localtime|ssh\/.*|pam\.d\/.*|default\/.*|network\/.*|netplan\/.*|apt\/sources\.list)$|^\/boot\/|^\/(root|home\/[^/]+)\/\.ssh\/|^\/(proc|sys|dev)\//

/** Their recursive removal can only be a mistake. */
const SYSTEM_DIRECTORIES: ReadonlySet<string> = new Set(
  "/ /bin /boot /dev /etc /home /lib /lib64 /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /usr/bin /usr/lib /usr/local /usr/local/bin /usr/sbin /var /var/lib /var/log".split(
    " "
  )
)

export const isRemovable = (path: string): boolean => {
  const clean = path === "/" ? path : posix.normalize(path).replace(/\/$/, "")
  return path.startsWith("/") && !hasControlCharacters(path) && !SYSTEM_DIRECTORIES.has(clean) && !HOSTS_OWN.test(clean)
}

interface Paths {
  readonly k0s: string
  readonly dataDir: string
}

const lines = (...parts: ReadonlyArray<string>): string => parts.join("\n")

const dataDirFlags = (dataDir: string): ReadonlyArray<string> =>
  dataDir === DEFAULT_DATA_DIR ? [] : ["--data-dir", quote(dataDir)]

/** Left behind by a leave that failed: nothing is stopped nor reset then, and verification tells of it by its name. */
export const ETCD_NOT_LEFT = "/run/machinist-etcd-member-could-not-leave"

const WAITS_FOR_ETCD = `if [ -e ${ETCD_NOT_LEFT} ]; then echo 'its etcd member has not left yet' >&2; exit 1; fi`

const leaveEtcd = ({ k0s, dataDir }: Paths, insist: boolean): Step => {
  // Below what a reset removes: a later try must not ask a member that is gone to leave.
  const left = quote(posix.join(dataDir, "etcd", ".machinist-left"))
  return namedStep(
    LEAVE_STEP,
    lines(
      "set -eu",
      `k0s=${quote(k0s)}`,
      SERVICE_FUNCTIONS,
      ACTIVE,
      `rm -f ${ETCD_NOT_LEFT}`,
      "not_left() {",
      '  echo "$1" >&2',
      ...(insist
        ? ["  echo 'given up: the member is left behind in the other controllers' >&2"]
        : [`  : >${ETCD_NOT_LEFT}`]),
      "  exit 1",
      "}",
      `bounded() { if has timeout; then timeout ${LEAVE_SECONDS} "$@"; else "$@"; fi; }`,
      "# How many members etcd knows of; 0: it does not answer.",
      `members() { bounded ${[`"$k0s" etcd member-list`, ...dataDirFlags(dataDir)].join(" ")} 2>/dev/null | tr ',' '\\n' | grep -c '"https*://' || true; }`,
      'if ! [ -x "$k0s" ]; then echo "no $k0s: nothing to leave"; exit 0; fi',
      `if ! [ -d ${quote(posix.join(dataDir, "etcd"))} ]; then echo 'no etcd member on this host'; exit 0; fi`,
      `if [ -e ${left} ]; then echo 'the etcd member has left already'; exit 0; fi`,
      "active k0scontroller || not_left 'k0scontroller does not run: its etcd member can only be removed from another one'",
      "before=$(members)",
      `if [ "$before" = 1 ]; then echo 'the only member of its etcd: nothing to leave'; exit 0; fi`,
      `bounded ${[`"$k0s" etcd leave`, ...dataDirFlags(dataDir)].join(" ")} || not_left 'etcd did not let its member go'`,
      "# A member that has left does not answer any more.",
      "after=$(members)",
      'if [ "$after" -gt 0 ] && [ "$after" -ge "$before" ]; then not_left "etcd still has $after members"; fi',
      `: >${left}`
    )
  )
}

const stop = (role: K0sRole, { k0s }: Paths): Step =>
  namedStep(
    "stop k0s",
    lines(
      "set -eu",
      WAITS_FOR_ETCD,
      `k0s=${quote(k0s)}`,
      SERVICE_FUNCTIONS,
      UPTIME,
      'installed() { [ -e "/etc/systemd/system/$1.service" ] || [ -e "/etc/init.d/$1" ]; }',
      "failed=0",
      `# The role's own service first; the other one only if something left it there.`,
      `for service in ${role === "worker" ? "k0sworker k0scontroller" : "k0scontroller k0sworker"}; do`,
      '  if installed "$service"; then service_do stop "$service" || failed=1; fi',
      "done",
      "# What was started by hand, or outlived its service: k0s refuses to reset while it runs.",
      "running() {",
      "  for exe in /proc/[0-9]*/exe; do",
      `    case $(readlink "$exe" 2>/dev/null || true) in "$k0s" | "$k0s (deleted)") exe=\${exe%/exe}; echo "\${exe#/proc/}" ;; esac`,
      "  done",
      "}",
      'kill_all() { for pid in $(running); do kill "-$1" "$pid" 2>/dev/null || true; done; }',
      "kill_all TERM",
      `end=$(( $(uptime_seconds) + ${STOP_GRACE_SECONDS} ))`,
      'while [ -n "$(running)" ] && [ "$(uptime_seconds)" -lt "$end" ]; do sleep 1; done',
      "kill_all KILL",
      'exit "$failed"'
    )
  )

const reset = (input: CleaningInput, { k0s, dataDir }: Paths): Step => {
  const flags = [
    ...dataDirFlags(dataDir),
    ...(input.kubeletRootDir === undefined ? [] : ["--kubelet-root-dir", quote(input.kubeletRootDir)])
  ]
  return namedStep(
    "reset k0s",
    lines(
      "set -eu",
      WAITS_FOR_ETCD,
      `k0s=${quote(k0s)}`,
      'has() { command -v "$1" >/dev/null 2>&1; }',
      'if [ -x "$k0s" ]; then',
      `  "$k0s" ${["reset", ...flags].join(" ")}`,
      ...(input.downloadedK0s === true ? ['  rm -f "$k0s"'] : []),
      `elif [ -e ${quote(dataDir)} ]; then`,
      `  echo "$k0s is gone and "${quote(dataDir)}" is not: k0s can't reset it" >&2`,
      "  exit 1",
      "fi",
      "# Service files of an install that was cut off.",
      "for service in k0sworker k0scontroller; do",
      '  if [ -e "/etc/systemd/system/$service.service" ]; then',
      '    if has systemctl; then systemctl disable "$service" >/dev/null 2>&1 || true; fi',
      '    rm -f "/etc/systemd/system/$service.service"',
      "    if has systemctl; then systemctl daemon-reload >/dev/null 2>&1 || true; fi",
      "  fi",
      '  if [ -e "/etc/init.d/$service" ]; then',
      '    if has rc-update; then rc-update del "$service" >/dev/null 2>&1 || true; fi',
      '    rm -f "/etc/init.d/$service"',
      '    if has update-rc.d; then update-rc.d "$service" remove >/dev/null 2>&1 || true; fi',
      "  fi",
      "done"
    )
  )
}

const customSteps = (list: ReadonlyArray<string>): ReadonlyArray<Step> =>
  list.map((command, index) => namedStep(`clean-up ${index + 1}`, command))

const defaultSteps = (input: CleaningInput, paths: Paths): ReadonlyArray<Step> =>
  input.bootstrap === "other"
    ? []
    : [
        ...(input.role === "controller" ? [leaveEtcd(paths, (input.tries ?? 1) > LEAVE_TRIES)] : []),
        stop(input.role, paths),
        reset(input, paths)
      ]

export const cleaning = (input: CleaningInput): Cleaning => {
  const dataDir = input.dataDir ?? DEFAULT_DATA_DIR
  const paths: Paths = { k0s: posix.join(input.k0sInstallDir || DEFAULT_K0S_INSTALL_DIR, "k0s"), dataDir }
  const custom = input.customCleanUpCommands ?? []
  const k0s = input.bootstrap === "k0s"
  const remove = [
    ...(k0s ? [DEFAULT_TOKEN_FILE, tokenFileOf(input.workingDir)] : []),
    SENTINEL_PATH,
    // What was appended to was there before; a file that is the host's own is not ours to take away.
    ...(input.files ?? []).flatMap((file) =>
      file.append !== true && isRemovable(file.path) ? [posix.normalize(file.path)] : []
    )
  ]
  const unique = [...new Set(remove)].sort()
  return {
    steps: custom.length > 0 ? customSteps(custom) : defaultSteps(input, paths),
    remove: unique,
    verify: {
      k0s,
      paths: [
        ...new Set([
          ...unique,
          ...(k0s && input.role === "controller" && custom.length === 0 ? [ETCD_NOT_LEFT] : []),
          // The default data directory is what `k0s: true` looks at: empty on a disk of its own, it is clean.
          ...(k0s && dataDir !== DEFAULT_DATA_DIR ? [dataDir] : []),
          ...(k0s && input.kubeletRootDir !== undefined ? [input.kubeletRootDir] : [])
        ])
      ].sort()
    }
  }
}

/** What cleaning must know, read off the bootstrap data before it may be gone; of k0smotron's making too. */
export interface InstallFacts {
  readonly role: K0sRole
  readonly k0sInstallDir: string
  readonly kubeletRootDir: string | undefined
  readonly dataDir: string | undefined
  /** Directory of the token file when it is not the default one. */
  readonly workingDir: string | undefined
  readonly downloadedK0s: boolean
}

const flagIn = (words: ReadonlyArray<string>, flag: string): string | undefined => {
  const at = words.findLastIndex((word) => word === flag || word.startsWith(`${flag}=`))
  const word = words[at]
  const value = word === undefined ? undefined : word === flag ? words[at + 1] : word.slice(flag.length + 1)
  return value?.startsWith("/") === true ? value : undefined
}

/** The words of the line that runs `k0s install ROLE`. */
const installLine = (script: string): { readonly words: ReadonlyArray<string>; readonly at: number } | undefined => {
  for (const line of script.split("\n")) {
    if (!line.includes("install")) continue
    const read = shellWords(line)
    if (Result.isFailure(read)) continue
    const words = read.success.map(plainText)
    const at = words.findIndex(
      (word, i) =>
        posix.basename(word) === "k0s" && words[i + 1] === "install" && /^(worker|controller)$/.test(words[i + 2] ?? "")
    )
    if (at !== -1) return { words, at }
  }
  return undefined
}

/** `undefined`: nothing here installs k0s. */
export const installFacts = (payload: Payload): InstallFacts | undefined => {
  for (const step of payload.steps) {
    const found = installLine(step.script)
    if (found === undefined) continue
    const { words, at } = found
    const token = flagIn(words, "--token-file")
    const binary = words[at] ?? ""
    return {
      role: words[at + 2] === "controller" ? "controller" : "worker",
      k0sInstallDir: binary.startsWith("/") ? posix.dirname(binary) : DEFAULT_K0S_INSTALL_DIR,
      kubeletRootDir: flagIn(words, "--kubelet-root-dir"),
      dataDir: flagIn(words, "--data-dir"),
      workingDir: token === undefined || token === DEFAULT_TOKEN_FILE ? undefined : posix.dirname(token),
      downloadedK0s: payload.steps.some(
        (other) => other.name === "download k0s" || /get\.k0s\.sh|curl .*\/k0s\b/.test(other.script)
      )
    }
  }
  return undefined
}
