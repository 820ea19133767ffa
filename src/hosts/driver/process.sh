# Owns finding and killing what steps left behind, and whether a driver lives. Everything a step starts carries
# MACHINIST_CLAIM and MACHINIST_STEP (`<claim>.<run or clean>.<step>`) in its environment, also what was daemonized; drivers
# carry MACHINIST_DRIVER, their watchdogs MACHINIST_WATCH. Never killed: init, sshd (a step may have restarted it, tag and
# all), a follower and its ancestors.

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

# Is the process still there that a file is named for? `$1` is "PID.START", and maybe more behind a dot. The number alone may
# mean someone else by now: power loss leaves such files, and every number is given anew then.
owner_lives() {
  ol_start=${1#*.}
  process "${1%%.*}" && [ "$PS_start" = "${ol_start%%.*}" ]
}

# True when process $1 may be killed.
killable() {
  [ "$1" -ne 1 ] && [ "$1" -ne $$ ] && process "$1" || return 1
  case $PS_comm in sshd | sshd-* | dropbear | init | systemd | sudo) return 1 ;; esac
  for sp_kin in "$STATE"/runs/*/follow-*.kin "$STATE"/runs/*/clean/*/follow-*.kin; do
    [ -e "$sp_kin" ] && owner_lives "${sp_kin##*/follow-}" && grep -qx "$1" "$sp_kin" && return 1
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

# Sets DRIVER: whose the run or cleaning in $DIR is, or was.
driver_id() {
  DRIVER=''
  { read -r DRIVER <"$DIR/driver"; } 2>/dev/null || DRIVER=''
}

driver_alive() {
  driver_id
  [ -n "$DRIVER" ] && alive "$DRIVER"
}

# Sets DEAD_REQUESTS: what was sent to those who are gone, but for what a living driver runs.
dead_requests() {
  DEAD_REQUESTS=''
  for dq_file in "$STATE"/incoming.*; do
    [ -e "$dq_file" ] || continue
    owner_lives "${dq_file#"$STATE/incoming."}" || driven "$dq_file" || DEAD_REQUESTS="$DEAD_REQUESTS $dq_file"
  done
}

# Does a living driver run file $1?
driven() {
  for dv_driver in "$STATE"/runs/*/driver "$STATE"/runs/*/clean/*/driver; do
    dv_id='' dv_file=''
    { read -r dv_id && read -r dv_file; } 2>/dev/null <"$dv_driver"
    [ "$dv_file" != "$1" ] || ! alive "$dv_id" || return 0
  done
  return 1
}
