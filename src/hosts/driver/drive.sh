# Owns the detached driver, from its first line to its role: `sh REQUEST drive DIR HOW`. What only who is connected needs
# comes behind this in the text, and is not even read here.

find_session() {
  SESSION=''
  ! command -v setsid >/dev/null 2>&1 || SESSION=setsid
}

# Is what we were launched for wanted still? Whoever has taken the claim over by now, or cleans, launches its own. (A follower
# that was late to read of the attempt before may have called this one failed.)
wanted() {
  # Taken for a dead one's, while nobody knew of us.
  [ -e "$0" ] || return 1
  read_tenancy && [ "$T_claim $T_fence" = "$Q_claim $Q_fence" ] || return 1
  case $Q_verb.$T_state in run.running | run.failed | clean.cleaning) ;; *) return 1 ;; esac
}

drive() {
  DIR=$1
  JOURNAL=$DIR/journal
  cd / && exec 2>>"$DIR/driver.err"
  # Caught, not ignored: steps begin with it as it was.
  trap : PIPE
  who_am_i
  find_session
  parse_request "$0" || exit 1
  lock || exit 1
  # Two followers may both have launched one: the second finds the first alive.
  if driver_alive || ! wanted; then
    driven "$0" || rm -f "$0"
    # The host may be clean by now, and nobody comes after us. This leaves the lock, too.
    my_locks
    rm -f "$MY_LOCKS"*
    exit 0
  fi
  # Readers take an empty one for none, and look again under the lock.
  printf '%s\n%s\n' "$ME" "$0" 2>/dev/null >"$DIR/driver"
  driver_id
  unlock
  scan_journal
  open_journal || die "can not write the journal in $DIR"
  # For one record more, the process that syncs it costs no more than the one that asks.
  [ "$Q_count" -lt 2 ] || J_ask=yes
  # A driver that nobody can find must not run: a second one would be launched beside it.
  [ "$DRIVER" = "$ME" ] || die "no space left on $STATE"
  [ "$2" = fresh ] || wipe_ahead || die "can not write the journal in $DIR"
  [ "$Q_verb" = clean ] || UNSYNCED=$STATE
  [ -z "$J_started" ] || kill_watchdogs
  case $Q_verb in
    run) drive_run ;;
    clean) drive_clean ;;
  esac
}

case ${1-} in
  drive)
    drive "$2" "$3"
    exit
    ;;
esac
