# Owns finding and killing what runs left behind. Everything a step starts carries MACHINIST_CLAIM and MACHINIST_STEP
# (`<claim>.<run or clean>.<step>`) in its environment, also what was daemonized; drivers carry MACHINIST_DRIVER, their
# watchdogs MACHINIST_WATCH. Never killed: init, sshd (a step may have restarted it, tag and all), a follower and its
# ancestors.

# Pids whose environment has a line that matches the anchored awk pattern $1.
tagged() {
  head -c 4194304 /proc/[0-9]*/environ 2>/dev/null | tr '\000' '\n' | awk -v want="$1" '
    /^==> \/proc\/[0-9]+\/environ <==$/ { split($0, part, "/"); pid = part[3]; next }
    pid != "" && $0 ~ want { print pid; pid = "" }' | while read -r tg_pid; do
    # Again, by itself: an environment could hold a line that looks like a heading.
    tr '\000' '\n' 2>/dev/null <"/proc/$tg_pid/environ" | grep -q "$1" && killable "$tg_pid" || continue
    echo "$tg_pid"
  done
}

# True when process $1 may be killed.
killable() {
  [ "$1" -ne 1 ] && [ "$1" -ne $$ ] && process "$1" || return 1
  case $PS_comm in sshd | sshd-* | dropbear | init | systemd | sudo) return 1 ;; esac
  for sp_kin in "$STATE"/runs/*/follow-*.kin "$STATE"/runs/*/clean/*/follow-*.kin; do
    [ -e "$sp_kin" ] || continue
    grep -qx "$1" "$sp_kin" && return 1
  done
  return 0
}

# TERM, then KILL, until none is left. False: some survived; SURVIVORS says which.
kill_tagged() {
  kt_pauses=0
  while :; do
    SURVIVORS=$(tagged "$1" | tr '\n' ' ')
    [ -n "$SURVIVORS" ] || return 0
    if [ "$kt_pauses" -eq 0 ]; then
      kill -TERM $SURVIVORS 2>/dev/null
      kill -CONT $SURVIVORS 2>/dev/null
    elif [ "$kt_pauses" -ge "$TERM_PAUSES" ]; then
      kill -KILL $SURVIVORS 2>/dev/null
    fi
    [ "$kt_pauses" -lt "$KILL_PAUSES" ] || return 1
    kt_pauses=$((kt_pauses + 1))
    pause
  done
}

# What step $1 started is dead when this returns true.
kill_step() {
  kill_tagged "^MACHINIST_STEP=${Q_claim}[.]${Q_verb}[.]$1\$"
}

# Watchdogs of drivers that were killed would sleep on.
kill_watchdogs() {
  kw_pids=$(tagged "^MACHINIST_WATCH=$Q_claim\$" | tr '\n' ' ')
  [ -z "$kw_pids" ] || kill -KILL $kw_pids 2>/dev/null
}

# The driver whose identity is in file $1: KILL, so that it records nothing any more.
kill_driver() {
  kd_id=''
  { read -r kd_id <"$1"; } 2>/dev/null || return 0
  kd_pauses=0
  while alive "$kd_id"; do
    set -- $kd_id
    [ "$2" -ne $$ ] || return 0
    kill -KILL "$2" 2>/dev/null
    [ "$kd_pauses" -lt "$KILL_PAUSES" ] || return 1
    kd_pauses=$((kd_pauses + 1))
    pause
  done
}

# Sets DRIVER: whose the run or cleaning in $DIR is, or was.
driver_id() {
  DRIVER=''
  { read -r DRIVER <"$DIR/driver"; } 2>/dev/null || DRIVER=''
}

driver_alive() {
  driver_id
  [ -n "$DRIVER" ] && alive "$DRIVER"
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
