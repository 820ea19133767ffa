# Owns who may clean this host or give it up, and starting a cleaning where none runs: as attach.sh does for a run, under the
# lock, with HOW set. Only such requests carry this.

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
    dead_locks
    rm -rf "$STATE/runs" $DEAD_LOCKS
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
