# Owns the journal of a run or of a cleaning: what was begun and what ended, durably. A record is one line of 128 bytes,
# written in place into space that was reserved, and allocated, before: so an exit code can be recorded on a full disk.
# A record ends with " ."; a torn or blank one is none. What the records mean is run.sh's, clean.sh's and follow.sh's.
#
#   begin CLAIM HASH | attempt N | files | start STEP ATTEMPT | end STEP CODE SENTINEL? | interrupted STEP
#   ok | failed STEP CODE ATTEMPT | nosentinel ATTEMPT | cleaned | dirty | error TEXT

RECORD=128
# Records that are reserved at once (64 KiB), and that must be there before a step starts.
RESERVE=512
RESERVE_LEAST=16

reserve_more() {
  awk -v n="$RESERVE" 'BEGIN { for (i = 0; i < n; i++) printf "%-127s\n", "" }' 2>/dev/null >>"$JOURNAL" || return 1
  sync_path "$JOURNAL"
}

# False: the disk is full. What was there at the last look is there still: it is measured only when it runs short.
J_room=0
reserve() {
  [ $((J_room - J_count)) -lt "$RESERVE_LEAST" ] || return 0
  J_room=$(($(wc -c <"$JOURNAL") / RECORD))
  [ $((J_room - J_count)) -ge "$RESERVE_LEAST" ] || reserve_more
}

# Only the complete records, from number $2 (0) on.
records() {
  tail -c +$((${2:-0} * RECORD + 1)) "$1" 2>/dev/null | sed -n '/ \. *$/!q;s/ \. *$//;p'
}

# record TEXT: durable when it returns; then whoever follows is told.
record() {
  failpoint "journal $1"
  rc_text=$1
  [ ${#rc_text} -le 120 ] || rc_text=$(one_line "$1" 120)
  printf '%-127s\n' "$rc_text ." | dd of="$JOURNAL" bs="$RECORD" seek="$J_count" conv=notrunc,fsync 2>/dev/null || return 1
  failpoint "journal $1 written"
  J_count=$((J_count + 1))
  poke "r $((J_count - 1)) $rc_text"
}

# A new journal in $DIR; nothing of an older one is left.
create_journal() {
  failpoint "journal new"
  J_count=0
  J_room=0
  [ ! -e "$JOURNAL" ] || rm -f "$JOURNAL"
  { : >"$JOURNAL"; } 2>/dev/null || return 1
  reserve_more || return 1
  record "begin $1 $2"
}

# Reads $JOURNAL into J_*:
#   count, hash ('' without a journal), attempt, files, started (any step), seen (sentinel), done (" 0 1 "),
#   open (step that started and has no end), opened (its attempt), bad/bad_code/bad_attempt (last step that failed),
#   interruptions (in a row, of this attempt), last (the last record)
scan_journal() {
  J_count=0 J_hash='' J_attempt=0 J_files='' J_started='' J_seen='' J_done=' ' J_open='' J_opened=0
  J_bad='' J_bad_code=0 J_bad_attempt=0 J_interruptions=0 J_last=''
  [ -e "$JOURNAL" ] || return 0
  sj_text=$(records "$JOURNAL")
  IFS=$NL
  for sj_line in $sj_text; do
    IFS=" $TAB$NL"
    J_count=$((J_count + 1))
    J_last=$sj_line
    scan_record $sj_line
  done
  IFS=" $TAB$NL"
}

scan_record() {
  case $1 in
    begin) J_hash=$3 ;;
    attempt) J_attempt=$2 J_interruptions=0 ;;
    files) J_files=yes ;;
    start) J_started=yes J_open=$2 J_opened=$3 ;;
    end)
      J_open=''
      J_interruptions=0
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
poke() {
  for pk_fifo in "$DIR"/follow/*.fifo; do
    [ -p "$pk_fifo" ] || continue
    pk_id=${pk_fifo##*/}
    pk_id=${pk_id%.fifo}
    if alive "$BOOT ${pk_id%%.*} ${pk_id#*.}"; then
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
