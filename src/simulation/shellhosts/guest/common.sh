# Owns what the stand-ins share: the witness, and being told to fail or hang. Sourced; not a command.
# What they are told lies in /etc/machinist-test: fail/NAME holds a count or `always`, hang/NAME exists.

TOLD=/etc/machinist-test

witness() { /usr/local/bin/witness "$@"; }

# obey NAME [EXIT CODE]
obey() {
  if [ -e "$TOLD/hang/$1" ]; then
    witness "$1-hangs"
    while :; do sleep 1000; done
  fi
  [ -s "$TOLD/fail/$1" ] || return 0
  read -r left <"$TOLD/fail/$1"
  case $left in
    always) ;;
    1) rm -f "$TOLD/fail/$1" ;;
    *) echo $((left - 1)) >"$TOLD/fail/$1" ;;
  esac
  witness "$1-failed" "as told"
  echo "Error: $1 failed, as this test host was told to" >&2
  exit "${2:-1}"
}

# Whether a k0s runs from FILE: then writing to it in place is refused, as the kernel does with a real executable.
text_busy() {
  for comm in /proc/[0-9]*/comm; do
    read -r name 2>/dev/null <"$comm" || continue
    [ "$name" = k0s ] || continue
    tr '\0' '\n' 2>/dev/null <"${comm%/comm}/cmdline" | grep -qxF -e "$1" && return 0
  done
  return 1
}
