# Owns what the driver text does when it is run: nothing before its last line. Two roles: `sh FILE FILE` acts for the one
# who is connected; `sh FILE drive DIR HOW` is the detached driver.

front() {
  INCOMING=$1
  trap follower_gone EXIT
  trap 'exit 1' HUP INT TERM PIPE
  who_am_i
  # A banner of the login shell may have ended without a newline.
  echo
  need_tools
  find_session
  DIR=$STATE
  JOURNAL=-
  parse_request "$1" || fail "the request was cut short on its way"
  case $Q_verb in
    run | clean) follow ;;
    quarantine) quarantine ;;
    *) fail "the request has no verb that this driver knows" ;;
  esac
}

find_session() {
  SESSION=''
  ! command -v setsid >/dev/null 2>&1 || SESSION=setsid
}

drive() {
  DIR=$1
  JOURNAL=$DIR/journal
  cd / && exec 2>>"$DIR/driver.err"
  # Caught, not ignored: steps begin with it as it was.
  trap : PIPE
  who_am_i
  find_session
  parse_request "$DIR/exec" || exit 1
  lock || exit 1
  # Two followers may both have launched one: the second finds the first alive.
  if driver_alive; then
    unlock
    exit 0
  fi
  # Readers take an empty one for none, and look again under the lock.
  printf '%s\n' "$ME" 2>/dev/null >"$DIR/driver"
  driver_id
  unlock
  scan_journal
  open_journal || die "can not write the journal in $DIR"
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
  drive) drive "$2" "$3" ;;
  *) front "$1" ;;
esac
exit
