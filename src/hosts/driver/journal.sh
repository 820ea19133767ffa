# Owns the journal of a run or of a cleaning: what was begun and what ended, durably. A record is one line of 128 bytes,
# written in place into space that was reserved, and allocated, before: so an exit code can be recorded on a full disk.
# A record ends with " ."; a torn or blank one is none. Records that become true at one moment are one write. What they
# mean is run.sh's, clean.sh's and follow.sh's.
#
#   begin CLAIM HASH | attempt N | files | start STEP ATTEMPT | end STEP CODE SENTINEL? | interrupted STEP
#   ok | failed STEP CODE ATTEMPT | nosentinel ATTEMPT | cleaned | dirty | error TEXT

# Records that are reserved at once (16 KiB, two to the power of RESERVE_DOUBLINGS), and that must be there before a step
# starts.
RESERVE=128
RESERVE_DOUBLINGS=7
RESERVE_LEAST=16

# Sets BLANK_RECORDS: RESERVE blank ones.
blank_records() {
  padded ''
  BLANK_RECORDS=$PADDED$NL
  br_times=0
  while [ "$br_times" -lt "$RESERVE_DOUBLINGS" ]; do
    BLANK_RECORDS=$BLANK_RECORDS$BLANK_RECORDS
    br_times=$((br_times + 1))
  done
}

reserve_more() {
  blank_records
  printf '%s' "$BLANK_RECORDS" 2>/dev/null >>"$JOURNAL" || return 1
  BLANK_RECORDS=''
  sync_paths "$JOURNAL"
}

# False: the disk is full. A journal is made with RESERVE records, and what was there at the last look is there still: it
# is measured only when it runs short.
J_room=0
reserve() {
  [ "$J_count" -ge $((RESERVE - RESERVE_LEAST)) ] || return 0
  [ $((J_room - J_count)) -lt "$RESERVE_LEAST" ] || return 0
  J_room=$(($(wc -c <"$JOURNAL") / RECORD))
  [ $((J_room - J_count)) -ge "$RESERVE_LEAST" ] || reserve_more
}

# Calls $1 with the words of each complete record in file $2, after the first $3 (0).
each_record() {
  er_call=$1
  er_skip=${3:-0}
  while read -r er_line; do
    case $er_line in *' .') ;; *) break ;; esac
    if [ "$er_skip" -gt 0 ]; then
      er_skip=$((er_skip - 1))
      continue
    fi
    set -f
    set -- ${er_line% .}
    set +f
    "$er_call" "$@"
  done <"$2"
}

# Records that are true, and become durable with the next ones that must be: a line each.
PENDING=''
later() {
  PENDING=$PENDING$1$NL
}

# Opens the journal, which was read, behind its last record: descriptor 4, for what is recorded from now on. No process
# is needed to write in place but the one that syncs.
open_journal() {
  [ -w "$JOURNAL" ] || return 1
  exec 4<>"$JOURNAL"
  oj_records=0
  while [ "$oj_records" -lt "$J_count" ]; do
    IFS= read -r oj_record <&4 || return 1
    oj_records=$((oj_records + 1))
  done
}

# Asks the file system to put each write to the journal on disk before it returns (ext4, XFS, btrfs, and overlays of them:
# a flush of the disk for each write was seen there): then a record needs no process that syncs. Believed only when nothing
# at all was said: BusyBox reports what it could not do, and ends well.
J_direct=''
J_ask=''
direct_journal() {
  J_ask=''
  dj_said=$(chattr +S "$JOURNAL" 2>&1) && [ -z "$dj_said" ] && J_direct=yes
}

# The directory that the tenancy record was renamed in, until it is known to be on disk: synced with what comes first.
UNSYNCED=''

# record TEXT…: what is pending, then these, durable when it returns; then whoever follows is told.
record() {
  # Not before the first one, which is synced with more than the journal, and waited for by a host that has much to begin.
  [ -z "$J_ask" ] || [ -n "$UNSYNCED" ] || direct_journal
  write_records "$@" || return 1
  if [ -n "$UNSYNCED" ]; then
    sync_paths "$JOURNAL" "$UNSYNCED"
    UNSYNCED=''
  elif [ -z "$J_direct" ]; then
    sync_data "$JOURNAL" || return 1
  fi
  failpoint "journal $WRITTEN written"
  tell_followers
}

# In one write, however many they are. The caller syncs.
J_broken=''
write_records() {
  [ -z "$J_broken" ] || return 1
  set -f
  IFS=$NL
  set -- $PENDING "$@"
  IFS=" $TAB$NL"
  set +f
  PENDING=''
  UNTOLD=''
  UNTOLD_FROM=$J_count
  rc_lines=''
  for rc_text; do
    [ ${#rc_text} -le 120 ] || rc_text=$(one_line "$rc_text" 120)
    UNTOLD=$UNTOLD$rc_text$NL
    padded "$rc_text ."
    rc_lines=$rc_lines$NL$PADDED
  done
  WRITTEN=$*
  failpoint "journal $WRITTEN"
  # Where a write that failed has left off is not known.
  printf '%s\n' "${rc_lines#?}" 2>/dev/null >&4 || {
    J_broken=yes
    return 1
  }
  J_count=$((J_count + $#))
}

# For a driver that comes after another: of a write that power loss cut in two, the second sector may have been kept and
# the first not. What lies behind the first blank record never was.
wipe_ahead() {
  padded ''
  wa_lines=$PADDED
  wa_line=1
  while [ "$wa_line" -lt "$RESERVE_LEAST" ]; do
    wa_lines=$wa_lines$NL$PADDED
    wa_line=$((wa_line + 1))
  done
  dd of="$JOURNAL" bs="$RECORD" seek="$J_count" conv=notrunc,fsync 2>/dev/null <<END_OF_RECORDS
$wa_lines
END_OF_RECORDS
}

tell_followers() {
  set -f
  IFS=$NL
  set -- $UNTOLD
  IFS=" $TAB$NL"
  set +f
  for tf_text; do
    poke "r $UNTOLD_FROM $tf_text"
    UNTOLD_FROM=$((UNTOLD_FROM + 1))
  done
}

# create_journal TEXT…: a new one in $DIR that begins with these records; nothing of an older one is left. Who makes the
# tenancy record syncs it before that.
create_journal() {
  failpoint "journal new"
  J_room=0
  J_count=$#
  [ ! -e "$JOURNAL" ] || rm -f "$JOURNAL"
  cj_lines=''
  for cj_text; do
    padded "$cj_text ."
    cj_lines=$cj_lines$PADDED$NL
  done
  blank_records
  printf '%s' "$cj_lines$BLANK_RECORDS" 2>/dev/null >"$JOURNAL" || return 1
  BLANK_RECORDS=''
  failpoint "journal made"
}

# Reads $JOURNAL into J_*:
#   count, hash ('' without a journal), attempt, files, started (any step), seen (sentinel), done (" 0 1 "), ended (the
#   same, but with steps that failed), open (step that started and has no end), opened (its attempt),
#   bad/bad_code/bad_attempt (last step that failed), interruptions (in a row, of this attempt), last (the last record)
scan_journal() {
  J_count=0 J_hash='' J_attempt=0 J_files='' J_started='' J_seen='' J_done=' ' J_ended=' ' J_open='' J_opened=0
  J_bad='' J_bad_code=0 J_bad_attempt=0 J_interruptions=0 J_last=''
  [ ! -e "$JOURNAL" ] || each_record scan_record "$JOURNAL"
}

scan_record() {
  J_count=$((J_count + 1))
  J_last="$*"
  case $1 in
    begin) J_hash=$3 ;;
    attempt) J_attempt=$2 J_interruptions=0 ;;
    files) J_files=yes ;;
    start) J_started=yes J_open=$2 J_opened=$3 ;;
    end)
      J_open=''
      J_interruptions=0
      J_ended="$J_ended$2 "
      [ "$4" = yes ] && J_seen=yes
      if [ "$3" -eq 0 ]; then
        J_done="$J_done$2 " J_bad=''
      else
        J_bad=$2 J_bad_code=$3 J_bad_attempt=$J_opened
      fi
      ;;
    interrupted)
      J_open=''
      J_interruptions=$((J_interruptions + 1))
      ;;
  esac
}

# Wakes every living follower with the line $1; forgets dead ones. Opening a fifo for both never blocks.
FOLLOWER=''
poke() {
  if [ -n "$FOLLOWER" ]; then
    printf '%s\n' "$1" >&3
    return 0
  fi
  for pk_fifo in "$DIR"/follow-*.fifo; do
    [ -p "$pk_fifo" ] || continue
    pk_pid=${pk_fifo##*/follow-}
    # Nobody's fifo forgets what is written to it: a pid that means someone else by now does no harm.
    if [ -d "/proc/${pk_pid%%.*}" ]; then
      { printf '%s\n' "$1" 1<>"$pk_fifo"; } 2>/dev/null
    else
      rm -f "$pk_fifo" "${pk_fifo%.fifo}.kin"
    fi
  done
}

# The driver can't go on: say it in the journal, or, when that is what fails, to whoever listens. Ends this process.
die() {
  di_text=$(one_line "$1" 110)
  record "error $di_text" || poke "e $di_text"
  exit 1
}
