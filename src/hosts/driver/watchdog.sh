# Owns the time limit of steps: one process a run that sleeps until the step that runs now must have ended. It is told
# which that is, and until when (seconds since boot, which no clock change moves), through $DIR/deadline.

# Its pid; that it is that process is told by its descriptor 9.
WATCHDOG=''
WATCHDOG_END=0
WATCHDOG_ONLY=''

# Sets WD_step and WD_end; false when no step runs.
read_deadline() {
  WD_step='' WD_end=0
  { read -r WD_step WD_end <"$DIR/deadline"; } 2>/dev/null && [ -n "$WD_end" ]
}

# Ends the step whose time is over, unless the driver that set the time is gone. `$1` and `$2`: the first step and its
# end; `$3`: `only` when no others can be told.
watchdog() {
  wd_sleep=''
  trap '[ -z "$wd_sleep" ] || kill "$wd_sleep" 2>/dev/null; exit 0' TERM
  WD_step=$1 WD_end=$2
  uptime_now
  while [ "$NOW" -lt "$WD_end" ]; do
    MACHINIST_WATCH=$Q_claim sleep $((WD_end - NOW)) &
    wd_sleep=$!
    wait "$wd_sleep"
    wd_sleep=''
    alive "$ME" || exit 0
    # Now, then the deadline: it is the driver that makes sure, near the end, that a step which ended is not killed.
    uptime_now
    if [ "$3" != only ] && ! read_deadline; then
      # No step runs; one that starts after this can't be over before that.
      WD_end=$((NOW + Q_timeout))
    fi
  done
  echo "machinist: step timed out after $Q_timeout s" >"$DIR/out/timeout"
  kill_step "$WD_step"
}

# Step $1 starts: limits it to Q_timeout, and up to a second more.
watch_step() {
  uptime_now
  WATCHDOG_END=$((NOW + Q_timeout + 1))
  if { printf '%s %s\n' "$1" "$WATCHDOG_END" >"$DIR/deadline"; } 2>/dev/null; then
    WATCHDOG_ONLY=''
    ! watched || return 0
  else
    # The disk is full: then one for this step alone.
    WATCHDOG_ONLY=only
    stop_watchdog
  fi
  watchdog "$1" "$WATCHDOG_END" "$WATCHDOG_ONLY" </dev/null >/dev/null 2>&1 7>&- 8>&- 9<"$DIR/deadline" &
  WATCHDOG=$!
}

# Does it live?
watched() {
  [ -n "$WATCHDOG" ] && [ "/proc/$WATCHDOG/fd/9" -ef "$DIR/deadline" ]
}

stop_watchdog() {
  if [ -n "$WATCHDOG" ]; then
    ! watched || kill -TERM "$WATCHDOG" 2>/dev/null
    wait "$WATCHDOG" 2>/dev/null
  fi
  WATCHDOG=''
}

# The step has ended. True: because its time was over. Near that moment the watchdog is stopped first: it may be about to
# act.
step_timed_out() {
  uptime_now
  if [ "$NOW" -ge $((WATCHDOG_END - 1)) ] || [ -n "$WATCHDOG_ONLY" ]; then
    stop_watchdog
  fi
  { : >"$DIR/deadline"; } 2>/dev/null
  [ -e "$DIR/out/timeout" ]
}
