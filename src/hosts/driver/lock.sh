# Owns mutual exclusion between all drivers and followers on the host: every check-and-set of the tenancy record and
# every launch is between `lock` and `unlock`. Lamport's bakery on empty files that are named for their owner, so that a
# dead owner's can be taken away by anyone without ever touching a live one's: nothing can be left stale, and a full disk
# is no obstacle. (flock(1) is not everywhere, is inherited by daemons, and a step may install it half way through.)
#
# Taking and leaving it are files that the shell makes itself; they are removed with whatever else a process removes when
# it ends. ROUND counts one process' times:
#   BOOT.PID.START.ROUND.choosing     wants it, and has no number yet unless there is also the next; not empty: it has left
#   BOOT.PID.START.ROUND.ticket-N     its number

ME=''
HELD=''
LOCK_ROUND=0
LOCK_DEAD=''

# Never waits for longer than LOCK_PAUSES; fails with LOCK_error set.
lock() {
  LOCK_error="can not write to $STATE/lock"
  set -- $ME
  LOCK_ROUND=$((LOCK_ROUND + 1))
  lk_me=$STATE/lock/$1.$2.$3.$LOCK_ROUND
  [ -d "$STATE/lock" ] || mkdir -p "$STATE/lock" 2>/dev/null || return 1
  { : >"$lk_me.choosing"; } 2>/dev/null || return 1
  HELD=$lk_me
  lk_mine=0
  LOCK_DEAD=''
  for lk_file in "$STATE"/lock/*.ticket-*; do
    [ -e "$lk_file" ] || continue
    ticket_of "$lk_file"
    [ "$TICKET" -gt "$lk_mine" ] && lk_mine=$TICKET
    # Left by one that was killed while it removed its own.
    [ -e "${lk_file%.ticket-*}.choosing" ] || LOCK_DEAD="$LOCK_DEAD ${lk_file%.ticket-*}"
  done
  lk_mine=$((lk_mine + 1))
  { : >"$lk_me.ticket-$lk_mine"; } 2>/dev/null || return 1
  lk_pauses=0
  while in_front_of_us; do
    lk_pauses=$((lk_pauses + 1))
    LOCK_error="the lock is held by process $OTHER"
    [ "$lk_pauses" -lt "$LOCK_PAUSES" ] || return 1
    pause
  done
  for lk_file in $LOCK_DEAD; do
    rm -f "$lk_file".*
  done
}

unlock() {
  [ -z "$HELD" ] || { echo >"$HELD.choosing"; } 2>/dev/null || rm -f "$HELD".*
  HELD=''
}

# Sets MY_LOCKS: what of ours is left to remove (sorted: the wish before the number, so that nobody waits for us).
my_locks() {
  set -- ${ME:-none none none}
  MY_LOCKS=$STATE/lock/$1.$2.$3.
}

# .../BOOT.PID.START.ROUND.ticket-N -> TICKET
ticket_of() {
  TICKET=${1##*.ticket-}
  case $TICKET in '' | *[!0-9]*) TICKET=0 ;; esac
}

# .../BOOT.PID.START.ROUND -> OWNER ("BOOT PID START")
owner_of() {
  ow_rest=${1##*/}
  OWNER=${ow_rest%%.*}
  ow_rest=${ow_rest#*.}
  OWNER="$OWNER ${ow_rest%%.*}"
  ow_rest=${ow_rest#*.}
  OWNER="$OWNER ${ow_rest%%.*}"
}

# Is a living process choosing its number, or does it hold one that comes before ours? Sets OTHER to its pid.
in_front_of_us() {
  for if_file in "$STATE"/lock/*.choosing; do
    if_one=${if_file%.choosing}
    [ "$if_one" != "$HELD" ] && [ -e "$if_file" ] && [ ! -s "$if_file" ] || continue
    owner_of "$if_one"
    if ! alive "$OWNER"; then
      LOCK_DEAD="$LOCK_DEAD $if_one"
      continue
    fi
    TICKET=0
    for if_ticket in "$if_one".ticket-*; do
      ticket_of "$if_ticket"
    done
    # It left while we looked.
    [ -e "$if_file" ] && [ ! -s "$if_file" ] || continue
    if [ "$TICKET" -lt "$lk_mine" ] || { [ "$TICKET" -eq "$lk_mine" ] && before "$OWNER" "$ME"; }; then
      OTHER=${OWNER#* }
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
