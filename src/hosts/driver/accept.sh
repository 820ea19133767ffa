# Owns the way from a look to what follows it: the shell that looked stores the request that comes next on its stdin, and
# runs it, as the command of an exec of its own does (Exec.ts). It is sent when that was told, and not before: what a shell
# reads ahead of its commands would be missing in the file.

accept() {
  unset MACHINIST_CLAIM MACHINIST_STEP MACHINIST_DRIVER ENV BASH_ENV
  process $$
  # In no variable: the text that is run sets its own.
  set -- "$STATE/incoming.$$.$PS_start"
  while [ -e "$1" ]; do set -- "$1.x"; done
  # A text that was cut short within a definition ends this shell.
  trap "rm -f $1" EXIT
  emit Accepted
  if { [ -d "$STATE/lock" ] || mkdir -p -m 700 "$STATE" "$STATE/lock"; } && cat >"$1"; then
    # The shell reads all of a file at once, or is one that is better started anew for it.
    [ -z "${BASH_VERSION-}" ] || exec sh "$1" "$1"
    . "$1"
  fi
  rm -f "$1"
  emit "DriverError the request can not be stored in $STATE: is the disk full or read-only?"
  cat >/dev/null
  exit 0
}
