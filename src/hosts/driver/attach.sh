# Owns who may run something on this host (fence, claim, state), and starting the detached driver where none runs. All of it
# happens under the lock. Sets HOW (fresh, attached, resumed, ended) for the follower; refusals end the process.

# What was launched and is not known by now never will be (drive.sh): its own fence or state was another one.
refuse() {
  driven "$REQUEST" || take_back
  unlock
  emit "Refused $1"
  exit 0
}

fail() {
  unlock
  emit "DriverError $(one_line "$1")"
  exit 1
}

refuse_foreign() {
  tenancy_text
  case $T_state in
    quarantined) refuse "quarantined $TENANCY_TEXT" ;;
    *) refuse "foreign $TENANCY_TEXT" ;;
  esac
}

enter() {
  lock || fail "$LOCK_error: is the disk full or read-only?"
  read_tenancy || fail "the tenancy record $STATE/tenancy is damaged: look at the host, then remove the file"
  dead_requests
  [ -z "$DEAD_REQUESTS" ] || rm -f $DEAD_REQUESTS
}

# A host without a tenant, or with a tombstone that is older than the request.
may_begin() {
  case $T_state in
    none) return 0 ;;
    free)
      [ "$Q_fence" -gt "$T_fence" ] && return 0
      [ "$T_claim" = "$Q_claim" ] && refuse released
      refuse "fence $T_fence"
      ;;
  esac
  return 1
}

# The record's own claim, whose fence the caller has found not to be newer than ours: newer fences take over, and machine
# and cluster follow (clusterctl move changes them).
take_over() {
  if [ "$1 $Q_machine $Q_cluster $Q_fence" != "$T_state $T_machine $T_cluster $T_fence" ]; then
    write_tenancy "$1" "$Q_claim" "$Q_machine" "$Q_cluster" "$Q_fence" || fail "can not write the tenancy record"
    # Followers with an older fence are told that they are not wanted any more.
    poke t
  fi
}

# Did a driver begin that no cleaning has buried?
began() {
  for be_driver in "$STATE"/runs/*/driver; do
    [ ! -e "$be_driver" ] || return 0
  done
  return 1
}

begin_run() {
  [ ! -e "$STATE/runs" ] || rm -rf "$STATE/runs"
  mkdir -p "$DIR/out" || fail "can not make $DIR"
  create_journal "begin $Q_claim $Q_hash" "attempt $Q_attempt" || fail "no space left on $STATE for the journal"
  # The driver sees to it that the rename is on disk before it changes anything.
  rename_tenancy running "$Q_claim" "$Q_machine" "$Q_cluster" "$Q_fence" "$JOURNAL" "$DIR" "$STATE/runs" ||
    fail "can not write the tenancy record"
  HOW=fresh
  launch
}

# Is the run over, as far as this attempt is concerned?
run_ended() {
  set -- $J_last
  case ${1-} in
    ok) return 0 ;;
    failed) [ "$4" -ge "$Q_attempt" ] ;;
    nosentinel) [ "$2" -ge "$Q_attempt" ] ;;
    *) return 1 ;;
  esac
}

attach_run() {
  DIR=$STATE/runs/$Q_claim
  JOURNAL=$DIR/journal
  enter
  if may_begin; then
    # Somebody took the record away, and not what it stands for: steps have run, or are running.
    [ "$T_state" != none ] || ! began || refuse journal-lost
    begin_run
    unlock
    return 0
  fi
  [ "$T_claim" = "$Q_claim" ] || refuse_foreign
  [ "$Q_fence" -ge "$T_fence" ] || refuse "fence $T_fence"
  [ "$T_state" != cleaning ] || refuse released
  [ "$T_state" != quarantined ] || refuse_foreign
  scan_journal
  [ -n "$J_hash" ] || refuse journal-lost
  [ "$J_hash" = "$Q_hash" ] || refuse data
  at_state=$T_state
  if run_ended; then
    HOW=ended
    # A full disk may have kept the driver from saying it here.
    case $J_last in ok) at_state=ready ;; *) at_state=failed ;; esac
  elif driver_alive; then
    HOW=attached
  else
    HOW=resumed
    at_state=running
  fi
  take_over "$at_state"
  [ "$HOW" != resumed ] || launch
  unlock
}

# Starts the driver away from this connection: SSH may break, logind may kill the session. Under the lock.
launch() {
  # It runs what we were sent, where that lies: the file is its own from now on.
  INCOMING=''
  [ -e "$REQUEST" ] || fail "the request is gone"
  follower_ready
  la_tag=$Q_verb.$Q_claim
  LAUNCHED=$LAUNCH_TICKS
  driver_id
  DRIVER_BEFORE=$DRIVER
  # Never a name that was used: a unit stays loaded for as long as any process of it lives.
  la_unit=machinist-$Q_verb-$Q_claim-$$-${ME##* }-$F_restarts
  if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1; then
    la_error=$(systemd-run --quiet --collect --unit="$la_unit" \
      --description="Machinist: $Q_verb of claim $Q_claim" --property=KillMode=process \
      --setenv="MACHINIST_DRIVER=$la_tag" /bin/sh "$REQUEST" drive "$DIR" "$HOW" 2>&1 </dev/null) ||
      fail "systemd-run can not start the driver: $la_error"
  elif [ -n "$SESSION" ]; then
    (become_driver "$SESSION" "$REQUEST" "$DIR" "$HOW" "$la_tag") </dev/null >/dev/null 2>&1 5<&- 6<&- &
  else
    refuse "unsupported the host has neither systemd-run nor setsid"
  fi
}

# become_driver SETSID FILE DIR HOW TAG, with nothing of this connection's environment. Its names are told by the shell,
# which is cheaper than `env`; a line of a value that looks like one is unset, too, and was never set. Nothing but the
# arguments is sure to be there after that.
become_driver() {
  bd_names=$(export -p)
  set -f
  IFS=$NL
  for bd_name in $bd_names; do
    case $bd_name in "export "*) ;; *) continue ;; esac
    bd_name=${bd_name#export }
    bd_name=${bd_name%%=*}
    case $bd_name in
      '' | [0-9]* | *[!A-Za-z0-9_]* | PATH | SHELLOPTS | BASHOPTS | UID | EUID | PPID) ;;
      *) unset "$bd_name" ;;
    esac
  done
  MACHINIST_DRIVER=$5
  export MACHINIST_DRIVER
  exec "$1" sh "$2" drive "$3" "$4"
}
