# Owns who may do what on this host (fence, claim, state), and starting the detached driver where none runs. All of it
# happens under the lock. Sets HOW (fresh, attached, resumed, ended) for the follower; refusals end the process.

refuse() {
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
  # What dead predecessors left of their stdin.
  for en_file in "$STATE"/incoming.*; do
    en_pid=${en_file##*.}
    case $en_pid in *[!0-9]* | '' | $$) continue ;; esac
    process "$en_pid" || rm -f "$en_file"
  done
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

# The newest cleaning of this claim: DIR, JOURNAL, C_attempt (0: none).
find_cleaning() {
  C_attempt=0
  for fc_dir in "$STATE/runs/$Q_claim"/clean/*/; do
    fc_dir=${fc_dir%/}
    [ -e "$fc_dir/journal" ] && [ "${fc_dir##*/}" -gt "$C_attempt" ] && C_attempt=${fc_dir##*/}
  done
  cleaning_dir "$C_attempt"
}

cleaning_dir() {
  DIR=$STATE/runs/$Q_claim/clean/$1
  JOURNAL=$DIR/journal
}

# begin_cleaning MODE: `all`, or `verify` on a host that has another claim's tombstone.
begin_cleaning() {
  # On a full disk the run's logs may be what fills it.
  rm -rf "$STATE/runs/$Q_claim/out" "$STATE/runs/$Q_claim/clean"
  write_tenancy cleaning "$Q_claim" "$Q_machine" "$Q_cluster" "$Q_fence" || fail "can not write the tenancy record"
  cleaning_dir "$Q_attempt"
  mkdir -p "$DIR/out" || fail "can not make $DIR"
  create_journal "begin $Q_claim $1" || fail "no space left on $STATE for the journal"
  sync_paths "$JOURNAL" "$DIR"
  failpoint "journal synced"
  HOW=fresh
  launch
}

continue_cleaning() {
  find_cleaning
  scan_journal
  if [ "$C_attempt" -eq 0 ] || [ -z "$J_hash" ]; then
    begin_cleaning all
  elif driver_alive; then
    HOW=attached
    take_over cleaning
  elif [ "$Q_attempt" -gt "$C_attempt" ]; then
    begin_cleaning all
  elif [ "$J_last" = dirty ]; then
    HOW=ended
    take_over "$T_state"
  else
    HOW=resumed
    take_over cleaning
    launch
  fi
}

attach_clean() {
  cleaning_dir 0
  enter
  if [ "$T_claim" = "$Q_claim" ] && [ "$T_state" = free ]; then
    # Cleaned already. A newer fence raises the tombstone's.
    [ "$Q_fence" -le "$T_fence" ] || take_over free
    rm -rf "$STATE/runs"
    HOW=buried
  elif [ "$T_state" = none ]; then
    begin_cleaning all
  elif may_begin; then
    begin_cleaning verify
  elif [ "$T_claim" = "$Q_claim" ]; then
    [ "$Q_fence" -ge "$T_fence" ] || refuse "fence $T_fence"
    continue_cleaning
  elif [ "$Q_adopt" = yes ]; then
    adopt
  else
    refuse_foreign
  fi
  unlock
}

# A person said that the foreign tenant is ours to clean: its run directory becomes this claim's.
adopt() {
  kill_driver "$STATE/runs/$T_claim/driver" || fail "the driver of the former claim does not die"
  for ad_driver in "$STATE/runs/$T_claim"/clean/*/driver; do
    kill_driver "$ad_driver" || fail "the driver of the former claim does not die"
  done
  if [ -d "$STATE/runs/$T_claim" ] && [ ! -e "$STATE/runs/$Q_claim" ]; then
    mv "$STATE/runs/$T_claim" "$STATE/runs/$Q_claim" || fail "can not take the former claim's directory over"
  fi
  begin_cleaning all
}

quarantine() {
  enter
  if [ "$T_state" != none ]; then
    [ "$T_claim" = "$Q_claim" ] || refuse_foreign
    [ "$T_state" != free ] || refuse released
    [ "$Q_fence" -ge "$T_fence" ] || refuse "fence $T_fence"
  fi
  write_tenancy quarantined "$Q_claim" "$Q_machine" "$Q_cluster" "$Q_fence" || fail "can not write the tenancy record"
  unlock
  tenancy_text
  emit "Tenancy $TENANCY_TEXT"
}

# Starts the driver away from this connection: SSH may break, logind may kill the session. Under the lock.
launch() {
  [ ! -e "$INCOMING" ] || mv -f "$INCOMING" "$DIR/exec" || fail "can not keep the request in $DIR"
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
      --setenv="MACHINIST_DRIVER=$la_tag" /bin/sh "$DIR/exec" drive "$DIR" "$HOW" 2>&1 </dev/null) ||
      fail "systemd-run can not start the driver: $la_error"
  elif [ -n "$SESSION" ]; then
    env -i "PATH=$PATH" "MACHINIST_DRIVER=$la_tag" "$SESSION" sh "$DIR/exec" drive "$DIR" "$HOW" </dev/null >/dev/null 2>&1 5<&- 6<&- &
  else
    refuse "unsupported the host has neither systemd-run nor setsid"
  fi
}
