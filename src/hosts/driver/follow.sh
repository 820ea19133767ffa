# Owns the follower: the process at the other end of the SSH channel. It tells the journal from its beginning, then each
# record as it comes (the driver pokes its fifo: no polling), a heartbeat so that a closed channel ends it, and it starts
# a driver again that died without a word. Losing it costs the run nothing.

FIFO=''
TICKER=''
SESSION=''
INCOMING=''
REQUEST=''
LAUNCHED=0
DRIVER=''
DRIVER_BEFORE=''

follower_gone() {
  unlock
  [ -z "$TICKER" ] || kill "$TICKER" 2>/dev/null
  my_locks
  set -- "$INCOMING" ${FIFO:+"$FIFO" "${FIFO%.fifo}.kin"} "$MY_LOCKS"*
  for fg_file; do
    # A driver that ended has removed them with its own.
    [ ! -e "$fg_file" ] || {
      rm -f "$@"
      break
    }
  done
  TICKER='' FIFO=''
}

# Known to drivers before one is launched, so that no poke is lost; our ancestors are in .kin, not to be killed.
follower_ready() {
  fr_id=${ME#* }
  fr_fifo=$DIR/follow-${fr_id% *}.${fr_id#* }.fifo
  [ "$fr_fifo" != "$FIFO" ] || [ ! -p "$FIFO" ] || return 0
  FIFO=$fr_fifo
  fr_pid=$PPID
  {
    echo $$
    while [ "$fr_pid" -gt 1 ] && process "$fr_pid"; do
      echo "$fr_pid"
      fr_pid=$PS_parent
      # Those are spared by name, and so is what starts them.
      case $PS_comm in sshd | sshd-*) break ;; esac
    done
  } 2>/dev/null >"${FIFO%.fifo}.kin"
  if [ ! -p "$FIFO" ]; then
    set -- "$FIFO"
    # And the pair that the first steps write to.
    [ "$HOW" != fresh ] || set -- "$FIFO" "$DIR/out/new.stdout" "$DIR/out/new.stderr"
    mkfifo "$@" || fail "can not make a fifo in $DIR"
  fi
  exec 5<>"$FIFO"
  # One that there is writes to the fifo that was: the next attempt's is another one, or made anew.
  [ -z "$TICKER" ] || kill "$TICKER" 2>/dev/null
  start_ticker
}

start_ticker() {
  (
    trap '[ -z "$ti_sleep" ] || kill "$ti_sleep" 2>/dev/null; exit 0' TERM
    ti_sleep=''
    while alive "$ME"; do
      sleep "$TICK_SECONDS" &
      ti_sleep=$!
      wait "$ti_sleep"
      echo t >&5
    done
  ) </dev/null >/dev/null 2>&1 6<&- &
  TICKER=$!
}

# Tells what is new in the journal; ends the process at the run's or the cleaning's end.
tell_journal() {
  each_record tell_record /proc/$$/fd/6 "$F_told"
}

tell_record() {
  F_told=$((F_told + 1))
  tell "$@"
}

# The driver died, or is slow: nothing may be left of a claim once somebody is told that the host is clean.
bury_journal() {
  lock || fail "$LOCK_error"
  read_tenancy
  if [ "$T_claim $T_state" = "$Q_claim free" ]; then
    dead_locks
    dead_requests
    rm -rf "$REQUEST" $DEAD_REQUESTS "$STATE/runs" $DEAD_LOCKS
  fi
  unlock
}

tell() {
  case $1 in
    start) emit "StepStarted $2" ;;
    end) emit "StepEnded $2 $3" ;;
    interrupted) emit "StepInterrupted $2" ;;
    ok) finish_run ready RunSucceeded ;;
    failed) [ "$4" -lt "$Q_attempt" ] || finish_failed "$2" "$3" ;;
    nosentinel) [ "$2" -lt "$Q_attempt" ] || finish_run failed NoSentinel ;;
    cleaned)
      # It was recorded just now: what is left of us, this journal last, goes at this moment.
      te_pauses=0
      while [ -e "$DIR" ] && [ "$te_pauses" -lt 20 ]; do
        te_pauses=$((te_pauses + 1))
        pause
      done
      [ ! -e "$DIR" ] || bury_journal
      # And what this process would leave.
      take_back
      follower_gone
      finish Cleaned
      ;;
    dirty)
      while IFS= read -r te_line; do
        emit "Leftover $te_line"
      done 2>/dev/null <"$DIR/leftovers"
      finish Dirty
      ;;
    error)
      # One that an earlier driver left is not ours to report.
      if [ "$F_told" -gt "$F_before" ]; then
        shift
        finish "DriverError $*"
      fi
      ;;
  esac
}

finish() {
  take_back
  emit "$1"
  exit 0
}

# What was launched is over: one that has not shown up yet finds nothing to begin.
take_back() {
  INCOMING=$REQUEST
}

# finish_run STATE EVENT. A driver that died between the record and the tenancy's state has left that to us.
finish_run() {
  read_tenancy && [ "$T_claim $T_state" = "$Q_claim running" ] && settle "$1" && sync_data "$STATE/tenancy"
  [ "$1" != ready ] || forget_steps
  finish "$2"
}

# And what carries secrets: nobody comes for it before a cleaning, years later. (A run that failed may go on.)
forget_steps() {
  set -- "$DIR"/step-*
  [ -e "$1" ] || return 0
  dead_requests
  rm -f "$@" $DEAD_REQUESTS
}

finish_failed() {
  stderr_tail "$1" | while IFS= read -r ff_line; do
    emit "Stderr $ff_line"
  done
  finish_run failed "RunFailed $1 $2"
}

# Everything that is not a record: told once a second, so that nothing can wait for ever.
look_around() {
  if [ "$F_ticks" -ge "$TICKS_A_HEARTBEAT" ]; then
    F_ticks=0
    emit alive
    tell_journal
  fi
  read_tenancy || return 0
  if [ "$T_claim" = "$Q_claim" ] && [ "$T_fence" -gt "$Q_fence" ]; then
    tell_journal
    refuse "fence $T_fence"
  fi
  if [ -e "$JOURNAL" ] && driver_alive; then
    LAUNCHED=0
    return 0
  fi
  tell_journal
  # The one that was launched has not shown up yet.
  if [ "$LAUNCHED" -gt 0 ] && [ "$DRIVER" = "$DRIVER_BEFORE" ]; then
    LAUNCHED=$((LAUNCHED - 1))
    return 0
  fi
  [ "$F_restarts" -lt "$MAX_RESTARTS" ] ||
    finish "DriverError the driver ended $F_restarts times without a word: $(one_line "$(tail -c 300 "$DIR/driver.err" 2>/dev/null)")"
  F_restarts=$((F_restarts + 1))
  attach
}

# Decides anew what there is to follow, says so, and opens its journal; what was told of the same journal is not told
# again.
attach() {
  at_journal=$JOURNAL
  case $Q_verb in
    run) attach_run ;;
    clean) attach_clean ;;
  esac
  if [ "$HOW" = buried ]; then
    [ "$at_journal" != - ] || emit "Attached ended"
    finish Cleaned
  fi
  [ "$HOW" = ended ] || follower_ready
  emit "Attached $HOW"
  [ "$JOURNAL" = "$at_journal" ] && [ "$HOW" != fresh ] || F_told=0
  # Errors that were recorded before we came are not news.
  F_before=$J_count
  [ -r "$JOURNAL" ] || fail "can not read $JOURNAL"
  exec 6<"$JOURNAL"
  if [ "$HOW" = fresh ]; then
    # Its first records tell nothing, and the others are told through the fifo.
    F_told=$J_count
  else
    tell_journal
  fi
  [ "$HOW" != ended ] || fail "the journal $JOURNAL has no end"
}

follow() {
  F_told=0 F_before=0 F_ticks=0 F_restarts=0
  JOURNAL=-
  attach
  while IFS= read -r fo_poke <&5; do
    case $fo_poke in
      t)
        F_ticks=$((F_ticks + 1))
        look_around
        ;;
      "e "*)
        tell_journal
        finish "DriverError ${fo_poke#e }"
        ;;
      "r $F_told "*)
        fo_poke=${fo_poke#r * }
        F_told=$((F_told + 1))
        tell $fo_poke
        ;;
      *) tell_journal ;;
    esac
  done
  fail "the follower's fifo was closed"
}
