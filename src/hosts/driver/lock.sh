# Owns mutual exclusion between all drivers and followers on the host: every check-and-set of the tenancy record and
# every launch is between `lock` and `unlock`. Lamport's bakery on files that are named for their owner ("BOOT PID
# START"), so that a dead owner's file can be taken away by anyone without ever touching a live one's: nothing can be
# left stale. (flock(1) is not everywhere, is inherited by daemons, and a step may install it half way through.)

HELD=''

# Never waits for longer than LOCK_PAUSES; fails with LOCK_error set.
lock() {
  LOCK_error="can not write to $STATE/lock"
  set -- $ME
  lk_me=$1.$2.$3
  [ -d "$STATE/lock" ] || mkdir -p "$STATE/lock" 2>/dev/null || return 1
  { : >"$STATE/lock/choosing.0.$lk_me"; } 2>/dev/null || return 1
  lk_last=0
  for lk_file in "$STATE/lock"/ticket.*; do
    ticket_of "$lk_file"
    [ "$TICKET" -gt "$lk_last" ] && lk_last=$TICKET
  done
  lk_mine=$((lk_last + 1))
  HELD="$STATE/lock/ticket.$lk_mine.$lk_me"
  { : >"$HELD"; } 2>/dev/null || return 1
  rm -f "$STATE/lock/choosing.0.$lk_me"
  lk_pauses=0
  while in_front_of_us; do
    lk_pauses=$((lk_pauses + 1))
    LOCK_error="the lock is held by process $OTHER"
    [ "$lk_pauses" -lt "$LOCK_PAUSES" ] || return 1
    pause
  done
}

unlock() {
  [ -z "$HELD" ] || rm -f "$HELD"
  HELD=''
}

# lock/ticket.<n>.<boot>.<pid>.<start> -> TICKET, OWNER
ticket_of() {
  tk_rest=${1##*/}
  tk_rest=${tk_rest#*.}
  TICKET=${tk_rest%%.*}
  tk_rest=${tk_rest#*.}
  OWNER=${tk_rest%%.*}
  tk_rest=${tk_rest#*.}
  OWNER="$OWNER ${tk_rest%%.*} ${tk_rest#*.}"
  case $TICKET in '' | *[!0-9]*) TICKET=0 ;; esac
}

# Is a living process choosing its ticket, or does it hold one that comes before ours? Sets OTHER to its pid.
in_front_of_us() {
  for if_file in "$STATE/lock"/choosing.* "$STATE/lock"/ticket.*; do
    [ -e "$if_file" ] && [ "$if_file" != "$HELD" ] || continue
    ticket_of "$if_file"
    if ! alive "$OWNER"; then
      rm -f "$if_file"
      continue
    fi
    if [ "$TICKET" -lt "$lk_mine" ] || { [ "$TICKET" -eq "$lk_mine" ] && before "$OWNER" "$ME"; }; then
      OTHER=$OWNER
      OTHER=${OTHER#* }
      OTHER=${OTHER%% *}
      return 0
    fi
  done
  return 1
}

# Some total order on living owners (same boot): by pid.
before() {
  bf_one=${1#* }
  bf_two=${2#* }
  [ "${bf_one%% *}" -lt "${bf_two%% *}" ]
}
