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

# Removes what $1 (a `written` list) says we made, unless someone put something of their own beside it.
remove_written() {
  [ -e "$1" ] || return 0
  while IFS= read -r rw_line; do
    rw_path=${rw_line#* }
    case $rw_line in
      "c "*) rm -f "$rw_path" "${rw_path%/*}/.machinist-$Q_claim" ;;
      "w "*) rm -f "${rw_path%/*}/.machinist-$Q_claim" ;;
    esac
  done <"$1" 2>/dev/null
  sed -n 's/^d //p' "$1" | awk '{ line[NR] = $0 } END { for (i = NR; i > 0; i--) print line[i] }' |
    while IFS= read -r rw_path; do
      rmdir "$rw_path" 2>/dev/null
    done
  return 0
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

# The driver whose identity is in file $1: KILL, so that it records nothing any more. What it ran goes, too.
kill_driver() {
  kd_id='' kd_request=''
  { read -r kd_id && read -r kd_request; } 2>/dev/null <"$1"
  kd_pauses=0
  while alive "$kd_id"; do
    set -- $kd_id
    [ "$2" -ne $$ ] || return 0
    kill -KILL "$2" 2>/dev/null
    [ "$kd_pauses" -lt "$KILL_PAUSES" ] || return 1
    kd_pauses=$((kd_pauses + 1))
    pause
  done
  case $kd_request in "$STATE"/incoming.*) [ ! -e "$kd_request" ] || rm -f "$kd_request" ;; esac
}

# Under systemd a unit's processes are known even when they cleared their environment.
kill_run_units() {
  for ku_procs in /sys/fs/cgroup/system.slice/machinist-run-*/cgroup.procs \
    /sys/fs/cgroup/systemd/system.slice/machinist-run-*/cgroup.procs; do
    [ -e "$ku_procs" ] || continue
    while read -r ku_pid; do
      killable "$ku_pid" && kill -KILL "$ku_pid" 2>/dev/null
    done 2>/dev/null <"$ku_procs"
  done
}

# Pids of every living process whose program is k0s, or lies where k0s unpacks its own.
k0s_processes() {
  ls -l /proc/[0-9]*/exe 2>/dev/null |
    sed -n 's|^.* /proc/\([0-9]*\)/exe -> \(.*\)$|\1 \2|p' |
    sed -n -e 's|^\([0-9]*\) .*/k0s$|\1|p' -e 's|^\([0-9]*\) .*/k0s (deleted)$|\1|p' \
      -e 's|^\([0-9]*\) /var/lib/k0s/.*$|\1|p'
  for kp_stat in /proc/[0-9]*/stat; do
    kp_pid=${kp_stat#/proc/}
    kp_pid=${kp_pid%/stat}
    process "$kp_pid" && [ "$PS_comm" = k0s ] && echo "$kp_pid"
  done
}

# What a run left running: its driver, its unit, its steps and their daemons, its watchdogs and log readers.
kill_run() {
  kill_driver "$STATE/runs/$Q_claim/driver" || die "the driver of the run does not die"
  kill_run_units
  # In this order: what the driver forked has its tag until it becomes a step, and then that one's.
  kill_tagged '^MACHINIST_DRIVER=run[.]' || die "process $SURVIVORS of the run's driver does not die"
  kill_tagged '^MACHINIST_CLAIM=' || die "process $SURVIVORS of the run does not die"
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

# Sets DEAD_LOCKS: files of owners that were killed before they could remove them. Nobody waits for those, but nothing of
# ours stays on a clean host.
dead_locks() {
  DEAD_LOCKS=''
  for dl_file in "$STATE"/lock/*; do
    owner_of "${dl_file%.*}"
    alive "$OWNER" || DEAD_LOCKS="$DEAD_LOCKS $dl_file"
  done
}

# The tombstone says that this claim is over; everything else of ours goes, this journal last. All under the lock, which goes
# with it: whoever sees the tombstone may begin, and what it begins lies where this is removed.
bury() {
  lock || die "$LOCK_error"
  read_tenancy
  if [ "$T_claim" != "$Q_claim" ] || [ "$T_state" != cleaning ]; then
    unlock
    die "the tenancy record was changed during the cleaning"
  fi
  { write_state free && sync_data "$STATE/tenancy"; } || die "can not write the tenancy record"
  record cleaned || die "can not write the journal in $DIR"
  failpoint "bury"
  my_locks
  dead_locks
  dead_requests
  rm -rf "$Q_source" $DEAD_REQUESTS "$STATE/runs" "$MY_LOCKS"* $DEAD_LOCKS
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
