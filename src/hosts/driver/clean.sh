# Owns a cleaning, in the detached driver: kill, steps (all of them, whatever they say), removal, verification, and the
# tombstone or the list of what is left. Its journal is the attempt's own.

# Removes path $1, but never a top directory: a list that says /etc is a mistake.
remove_path() {
  case $1 in
    /*/*) rm -rf "$1" 2>/dev/null ;;
    *) rm -f "$1" 2>/dev/null ;;
  esac
}

remove_paths() {
  failpoint "remove"
  set -f
  IFS=$NL
  for rm_path in $Q_remove; do
    IFS=" $TAB$NL"
    remove_path "$rm_path"
  done
  IFS=" $TAB$NL"
  set +f
  remove_written "$STATE/runs/$Q_claim/written"
  rm -f "$SENTINEL"
  rmdir "${SENTINEL%/*}" 2>/dev/null
  sync
  failpoint "removed"
}

leftover() {
  one_line "$1" 300
  echo
}

present() {
  [ -e "$1" ] || [ -L "$1" ]
}

# A mount point of an own disk stays behind empty: that is clean.
k0s_data() {
  [ -e /var/lib/k0s ] || return 1
  [ -z "$(ls -A /var/lib/k0s 2>/dev/null)" ] && grep -q '^[^ ]* /var/lib/k0s ' /proc/mounts && return 1
  return 0
}

k0s_leftovers() {
  for kl_pid in $(k0s_processes | sort -un); do
    process "$kl_pid" && leftover "process $kl_pid ($PS_comm) of k0s"
  done
  for kl_name in k0sworker k0scontroller; do
    for kl_path in "/etc/systemd/system/$kl_name.service" "/lib/systemd/system/$kl_name.service" \
      "/etc/init.d/$kl_name" "/etc/init/$kl_name.conf"; do
      present "$kl_path" && leftover "service $kl_path"
    done
  done
  k0s_data && leftover "/var/lib/k0s"
  return 0
}

# Everything that verification finds, a line each.
leftovers() {
  [ "$Q_k0s" = no ] || k0s_leftovers
  set -f
  IFS=$NL
  for lo_path in $Q_remove$Q_verify; do
    IFS=" $TAB$NL"
    present "$lo_path" && leftover "$lo_path"
  done
  IFS=" $TAB$NL"
  set +f
  present "$SENTINEL" && leftover "$SENTINEL"
  sed -n 's/^c //p' "$STATE/runs/$Q_claim/written" 2>/dev/null | while IFS= read -r lo_path; do
    present "$lo_path" && leftover "$lo_path"
  done
  for lo_pid in $(tagged '^MACHINIST_CLAIM='); do
    process "$lo_pid" && leftover "process $lo_pid ($PS_comm) of a bootstrap step"
  done
  return 0
}

# What a run left running: its driver, its unit, its steps and their daemons, its watchdogs and log readers.
kill_run() {
  kill_driver "$STATE/runs/$Q_claim/driver" || die "the driver of the run does not die"
  kill_run_units
  kill_tagged '^MACHINIST_CLAIM=' || die "process $SURVIVORS of the run does not die"
  kill_tagged '^MACHINIST_DRIVER=run[.]' || die "process $SURVIVORS of the run's driver does not die"
  kill_watchdogs
}

# Services of the bootstrap data itself: systemd started them, so they carry no tag of ours.
stop_units() {
  command -v systemctl >/dev/null 2>&1 || return 0
  sed -n 's/^u //p' "$STATE/runs/$Q_claim/written" 2>/dev/null | while IFS= read -r su_unit; do
    for su_verb in disable "kill --signal=KILL" stop reset-failed; do
      systemctl $su_verb "$su_unit" </dev/null >/dev/null 2>&1
    done
  done
  return 0
}

# systemd forgets the units whose files are gone.
forget_units() {
  grep -q '^u ' "$STATE/runs/$Q_claim/written" 2>/dev/null || return 0
  systemctl daemon-reload >/dev/null 2>&1
  return 0
}

clean_steps() {
  cs_step=0
  while [ "$cs_step" -lt "$Q_count" ]; do
    case $J_ended in
      *" $cs_step "*) ;;
      *) one_step "$cs_step" ;;
    esac
    cs_step=$((cs_step + 1))
  done
  [ -z "$PENDING" ] || record || die "can not write the journal in $DIR"
}

# The tombstone says that this claim is over; everything else of ours goes, this journal last.
bury() {
  lock || die "$LOCK_error"
  read_tenancy
  if [ "$T_claim" != "$Q_claim" ] || [ "$T_state" != cleaning ]; then
    unlock
    die "the tenancy record was changed during the cleaning"
  fi
  { write_state free && sync_data "$STATE/tenancy"; } || die "can not write the tenancy record"
  unlock
  record cleaned || die "can not write the journal in $DIR"
  failpoint "bury"
  my_locks
  dead_locks
  rm -rf "$STATE/runs" "$MY_LOCKS"* $DEAD_LOCKS
  failpoint "buried"
  exit 0
}

drive_clean() {
  if [ "$J_hash" != verify ]; then
    stop_units
    kill_run
  fi
  settle_interrupted
  if [ "$J_hash" != verify ]; then
    extract_steps || die "no space left on $STATE for the steps"
    forget_output
    clean_steps
    stop_watchdog
    close_output
    remove_paths
    forget_units
    kill_tagged '^MACHINIST_CLAIM=' || :
  fi
  leftovers 2>/dev/null >"$DIR/leftovers" || die "no space left on $STATE"
  [ -s "$DIR/leftovers" ] || bury
  sync_paths "$DIR/leftovers"
  record dirty || die "can not write the journal in $DIR"
  forget_request
  exit 0
}
