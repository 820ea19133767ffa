/**
 * Owns the shell that does what files alone can't for an Ignition config: directories, links, systemd units, and waiting
 * for what the units do. POSIX sh; each step may run again. Whatever is made is noted in the run's list ($MACHINIST_WRITTEN,
 * driver/files.sh), so that cleaning takes it away.
 */
import { SENTINEL_PATH } from "./CommonInput.ts"
import { namedStep, type Step } from "./Payload.ts"
import { quote } from "./ShellWords.ts"

export interface Directory {
  readonly path: string
  readonly mode: string
  readonly owner: string | undefined
}

export interface Link {
  readonly path: string
  readonly target: string
  readonly hard: boolean
  readonly owner: string | undefined
}

export interface Unit {
  readonly name: string
  readonly mask: boolean
  /** Absent: left as the system has it. */
  readonly enabled: boolean | undefined
}

export interface IgnitionParts {
  readonly directories: ReadonlyArray<Directory>
  readonly links: ReadonlyArray<Link>
  readonly units: ReadonlyArray<Unit>
  /** The units are the bootstrap: it is over when they made the sentinel. */
  readonly endsByUnits: boolean
}

const lines = (...parts: ReadonlyArray<string>): string => parts.join("\n")

const NOTE = lines(
  "note() {",
  `  [ -n "\${MACHINIST_WRITTEN:-}" ] || return 0`,
  '  grep -qxF -e "$1" "$MACHINIST_WRITTEN" 2>/dev/null || printf \'%s\\n\' "$1" >>"$MACHINIST_WRITTEN"',
  "}",
  "make_directory() {",
  '  [ ! -d "$1" ] || return 0',
  '  make_directory "$(dirname "$1")"',
  '  mkdir "$1"',
  '  note "d $1"',
  "}"
)

const directory = ({ path, mode, owner }: Directory): ReadonlyArray<string> => [
  `make_directory ${quote(path)}`,
  ...(owner === undefined ? [] : [`chown ${quote(owner)} ${quote(path)}`]),
  `chmod ${mode} ${quote(path)}`
]

const link = ({ path, target, hard, owner }: Link): ReadonlyArray<string> => [
  `path=${quote(path)}`,
  'make_directory "$(dirname "$path")"',
  'if [ -d "$path" ] && [ ! -L "$path" ]; then echo "$path is a directory, and a link is to be there" >&2; exit 1; fi',
  'if [ -e "$path" ] || [ -L "$path" ]; then :; else note "c $path"; fi',
  hard ? `ln -f ${quote(target)} "$path"` : `ln -sfn ${quote(target)} "$path"`,
  ...(owner === undefined || hard ? [] : [`chown -h ${quote(owner)} "$path"`])
]

const onDisk = ({ directories, links }: IgnitionParts): ReadonlyArray<Step> => {
  const sorted = [...directories].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
  const commands = [...sorted.flatMap(directory), ...links.flatMap(link)]
  return commands.length === 0 ? [] : [namedStep("directories and links", lines("set -eu", NOTE, ...commands))]
}

const NEEDS_SYSTEMD = lines(
  "if ! [ -d /run/systemd/system ]; then",
  "  echo 'ignition: units need a host that runs systemd' >&2",
  "  exit 1",
  "fi"
)

/** `systemctl enable` says which links it makes. */
const enable = (name: string): ReadonlyArray<string> => [
  `unit=${quote(name)}`,
  'said=$(systemctl enable "$unit" 2>&1) || { printf \'%s\\n\' "$said" >&2; exit 1; }',
  "printf '%s\\n' \"$said\" | sed -n 's/^Created symlink \\([^ ]*\\) .*/\\1/p' | while IFS= read -r made; do",
  '  note "c $made"',
  "done",
  'note "u $unit"'
]

const setUp = (units: ReadonlyArray<Unit>): Step =>
  namedStep(
    "systemd units",
    lines(
      "set -eu",
      NEEDS_SYSTEMD,
      NOTE,
      "systemctl daemon-reload",
      ...units.flatMap(({ name, mask, enabled }) => [
        ...(mask ? [`systemctl mask ${quote(name)}`] : []),
        ...(enabled === true && !mask ? enable(name) : []),
        ...(enabled === false ? [`systemctl disable ${quote(name)}`] : [])
      ])
    )
  )

/** Its last words: what a person would look up first. */
const LAST_WORDS = "journalctl --no-pager -q -n 40 -o cat -u"

const start = (name: string): Step =>
  namedStep(
    `start ${name}`,
    lines(
      "set -eu",
      `unit=${quote(name)}`,
      "# A unit without an [Install] section is started by others, or not at all.",
      'case $(systemctl is-enabled "$unit" 2>/dev/null || true) in enabled* | alias | generated) ;; *) exit 0 ;; esac',
      "# One that has run since the boot, and is done, must not do it twice: a reboot may have started it.",
      'if [ "$(systemctl is-active "$unit" 2>/dev/null || true)" = inactive ] &&',
      '  [ "$(systemctl show -p ExecMainExitTimestampMonotonic --value "$unit")" -gt 0 ] 2>/dev/null; then exit 0; fi',
      "# Only the unit's own failure counts: a systemd that goes down for a reboot drops its callers.",
      'until systemctl start "$unit"; do',
      '  case $(systemctl is-active "$unit" 2>/dev/null || true) in',
      "    failed | inactive)",
      `      ${LAST_WORDS} "$unit" >&2 || true`,
      "      exit 1",
      "      ;;",
      "  esac",
      "  sleep 1",
      "done"
    )
  )

/** A unit may be of a kind that is started long before it is done. */
const awaitSentinel = (names: ReadonlyArray<string>): Step =>
  namedStep(
    "wait for the units",
    lines(
      "set -eu",
      `while ! [ -e ${quote(SENTINEL_PATH)} ]; do`,
      `  for unit in ${names.map(quote).join(" ")}; do`,
      '    if systemctl is-failed -q "$unit"; then',
      '      echo "$unit failed" >&2',
      `      ${LAST_WORDS} "$unit" >&2 || true`,
      "      exit 1",
      "    fi",
      "  done",
      "  sleep 1",
      "done"
    )
  )

export const ignitionSteps = (parts: IgnitionParts): ReadonlyArray<Step> => {
  const started = parts.units.filter((unit) => unit.enabled === true && !unit.mask).map((unit) => unit.name)
  return [
    ...onDisk(parts),
    ...(parts.units.length === 0 ? [] : [setUp(parts.units)]),
    ...started.map(start),
    ...(started.length === 0 || !parts.endsByUnits ? [] : [awaitSentinel(started)])
  ]
}
