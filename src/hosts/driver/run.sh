# Owns a bootstrap run, in the detached driver: files, steps in order, the sentinel, the end. Everything that was
# recorded is skipped, so the same function starts, resumes and finishes a run.

# Sets the tenancy's state unless someone else has it by now (a cleaning that is about to kill us). The caller syncs.
settle() {
  lock || return 1
  read_tenancy
  if [ "$T_claim" = "$Q_claim" ]; then
    case $T_state in
      running | failed | ready) [ "$T_state" = "$1" ] || write_state "$1" ;;
    esac
  fi
  unlock
}

# What carries secrets is not needed any more; nor is this process. More that goes with it: $*.
forget_request() {
  my_locks
  rm -f "$Q_source" "$DIR"/step-* "$DIR/deadline" "$MY_LOCKS"* "$@"
}

# Sets FOLLOWER, its fifo, and FOLLOWER_FILES, what it would remove when it ends: where one follows, and one alone.
only_follower() {
  FOLLOWER='' FOLLOWER_FILES=''
  set -- "$DIR"/follow-*.fifo
  [ $# -eq 1 ] && [ -p "$1" ] || return 1
  of_id=${1##*/follow-}
  of_id=${of_id%.fifo}
  # As poke does: nothing is lost by telling a pid that means someone else by now.
  [ -d "/proc/${of_id%.*}" ] || return 1
  FOLLOWER=$1
  FOLLOWER_FILES="$1 ${1%.fifo}.kin"
  for of_file in "$STATE/lock/$BOOT.$of_id".*.choosing; do
    # Never of a lock that it still wants.
    [ ! -s "$of_file" ] || FOLLOWER_FILES="$FOLLOWER_FILES $of_file ${of_file%.choosing}.ticket-*"
  done
}

# Tells the end when what carried secrets is not there any more. What the one follower made goes at the same time, which
# spares a process; it is told through a descriptor then.
forget_and_tell() {
  if only_follower; then
    {
      forget_request $FOLLOWER_FILES
      tell_followers
      exit 0
    } 2>/dev/null 3<>"$FOLLOWER"
    FOLLOWER=''
  fi
  forget_request
  tell_followers
}

# The record is what counts: an attempt that finds it, or a state without it, sets the tenancy's state itself. Who follows
# is told when it is on disk (and the state, where the same process sees to both), and what carried secrets is not there
# any more.
end_run() {
  write_records "$2" || die "can not write the journal in $DIR"
  failpoint "end recorded"
  settle "$1"
  [ -n "$J_direct" ] || sync_data "$JOURNAL" "$STATE/tenancy" || die "can not write the journal in $DIR"
  failpoint "end synced"
  stop_watchdog
  forget_and_tell
  exit 0
}

# A step that started and has no end: dead for sure before it is run again.
settle_interrupted() {
  [ -n "$J_open" ] || return 0
  si_step=$J_open
  kill_step "$si_step" || die "process $SURVIVORS of interrupted step $si_step does not die"
  record "interrupted $si_step" || die "can not write the journal in $DIR"
  J_open=''
  J_interruptions=$((J_interruptions + 1))
  if [ "$J_interruptions" -ge "$MAX_INTERRUPTIONS" ]; then
    record "end $si_step 137 no" || die "can not write the journal in $DIR"
    J_bad=$si_step J_bad_code=137 J_bad_attempt=$J_opened
    J_ended="$J_ended$si_step "
  fi
}

# one_step STEP: starts, runs; sets CODE. That it ended is recorded in one write with what comes next, which the caller
# sees to: the next step's start, or the end of them all.
one_step() {
  reserve || die "no space left on $STATE for the journal"
  record "start $1 $Q_attempt" || die "can not write the journal in $DIR"
  run_step "$1"
  failpoint "step $1 ended"
  os_seen=no
  [ -e "$SENTINEL" ] && os_seen=yes
  later "end $1 $CODE $os_seen"
  [ "$os_seen" = no ] || J_seen=yes
}

drive_run() {
  [ "$Q_attempt" -gt "$J_attempt" ] || Q_attempt=$J_attempt
  if [ "$Q_attempt" -gt "$J_attempt" ]; then
    record "attempt $Q_attempt" || die "can not write the journal in $DIR"
    J_interruptions=0
  fi
  settle_interrupted
  if [ -z "$J_started" ] && [ -e "$SENTINEL" ]; then
    failpoint "sentinel"
    rm -f "$SENTINEL" || die "can not remove the stale $SENTINEL"
    failpoint "sentinel removed"
  fi
  if [ -z "$J_files" ]; then
    place_files || die "$PROBLEM"
    later files
  fi
  extract_steps || die "no space left on $STATE for the steps"
  forget_output
  dr_step=0
  while [ "$dr_step" -lt "$Q_count" ]; do
    case $J_done in
      *" $dr_step "*) ;;
      *)
        if [ "$J_bad" = "$dr_step" ] && [ "$J_bad_attempt" -ge "$Q_attempt" ]; then
          end_run failed "failed $dr_step $J_bad_code $Q_attempt"
        fi
        one_step "$dr_step"
        [ "$CODE" -eq 0 ] || end_run failed "failed $dr_step $CODE $Q_attempt"
        ;;
    esac
    dr_step=$((dr_step + 1))
  done
  if [ "$Q_sentinel" = yes ] && [ -z "$J_seen" ] && [ ! -e "$SENTINEL" ]; then
    end_run failed "nosentinel $Q_attempt"
  fi
  end_run ready ok
}
