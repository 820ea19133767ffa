# Owns where the steps' output goes: through two fifos into $DIR/out/<n>.{log,err}.*, stdout into the one, stderr into the
# other, by one reader each. One pair serves all steps of a run, for a host may have few cores; a line in both tells where
# a step begins. Only when something that a step left running holds the pair do the next steps get another one: so a
# failed step's last words are its own, and the readers of the first live as long as that daemon does: neither SIGPIPE
# nor a full pipe may ever hit it.

OUT=''
OUT_READER=''

# rotate FILE BLOCKS: stdin into FILE.{older,old,now}, each at most BLOCKS blocks, to the end; a full disk loses output
# only. `dd` writes what it has read at once and counts reads, so BLOCKS*512 bytes is a bound, not an exact size.
rotate() {
  while ro_said=$(dd bs=512 count="$2" of="$1.now" 2>&1); do
    # "WHOLE+PART records in", after a warning about the parts: fewer than it was to read, and the end was reached.
    ro_said=${ro_said%% records in*}
    ro_said=${ro_said##*"$NL"}
    case ${ro_said%%+*}${ro_said#*+} in
      *[!0-9]* | '') [ -s "$1.now" ] || return 0 ;;
      *) [ $((${ro_said%%+*} + ${ro_said#*+})) -ge "$2" ] || return 0 ;;
    esac
    mv -f "$1.old" "$1.older" 2>/dev/null
    mv -f "$1.now" "$1.old" 2>/dev/null
  done
  cat >/dev/null
}

# The pair of an earlier driver is nobody's any more.
forget_output() {
  for fo_old in "$DIR"/out/*; do
    case $fo_old in */new.stdout | */new.stderr) continue ;; esac
    [ ! -e "$fo_old" ] || {
      rm -rf "$DIR/out"
      break
    }
  done
  [ -d "$DIR/out" ] || mkdir "$DIR/out" || die "can not make $DIR/out"
}

# A pair for the steps to come; descriptors 7 and 8 keep its readers between two steps. The first one was made with the
# fifo of the follower that began the run, unless an earlier driver has used it.
FIRST_PAIR=yes
open_output() {
  close_output
  OUT=$DIR/out/new
  if [ -z "$FIRST_PAIR" ] || [ ! -p "$OUT.stderr" ]; then
    OUT=$DIR/out/$J_count
    mkfifo "$OUT.stdout" "$OUT.stderr" || die "can not make $OUT.stdout"
  fi
  FIRST_PAIR=''
  # Also says that the pair is used: before it is.
  printf '%s\n' "$OUT" 2>/dev/null >"$DIR/out/last"
  rotate "$OUT.log" "$LOG_BLOCKS" <"$OUT.stdout" >/dev/null 2>&1 &
  rotate "$OUT.err" "$ERR_BLOCKS" <"$OUT.stderr" >/dev/null 2>&1 &
  OUT_READER=$!
  exec 7>"$OUT.stdout" 8>"$OUT.stderr"
}

close_output() {
  [ -z "$OUT" ] || exec 7>&- 8>&-
  OUT=''
}

# The processes before a step: only others can be what it leaves behind, and to look into each one is dear where they are
# many.
OUT_BEFORE=''

# Does a process that the last step left behind write to the pair? Notes which there are, for the next step.
output_held() {
  set -- /proc/[0-9]*
  oh_before=$OUT_BEFORE
  OUT_BEFORE=" $* "
  [ -n "$OUT" ] || return 0
  for oh_process; do
    case $oh_before in *" $oh_process "*) continue ;; esac
    for oh_fd in 1 2; do
      [ ! "$oh_process/fd/$oh_fd" -ef "$OUT.stderr" ] || return 0
    done
  done 2>/dev/null
  return 1
}

# Sets MARK, the line before step $1's own words.
output_mark() {
  MARK="machinist: step $1, $OUT"
}

# Where step $1 writes: OUT.
output_of_step() {
  if output_held; then open_output; fi
  output_mark "$1"
  printf '\n%s\n' "$MARK" >&7
  printf '\n%s\n' "$MARK" >&8
}

# What a step wrote last may still be on its way when it has ended; a daemon may hold the fifo for ever.
last_words() {
  lw_out=$OUT
  close_output
  OUT=$lw_out
  lw_pauses=0
  while process "$OUT_READER" && [ "$lw_pauses" -lt 10 ]; do
    lw_pauses=$((lw_pauses + 1))
    pause
  done
  OUT=''
}

# The last words of step $1, printable, to stdout. For followers.
stderr_tail() {
  { read -r OUT <"$DIR/out/last"; } 2>/dev/null || return 0
  output_mark "$1"
  cat "$OUT.err.older" "$OUT.err.old" "$OUT.err.now" 2>/dev/null |
    tail -c $((STDERR_TAIL + 256)) | tr '\r' '\n' | tr -d '\000-\010\013-\037\177' |
    awk -v mark="$MARK" '
      $0 == mark { count = 0; next }
      /[^ \t]/ { line[count++] = $0 }
      END { for (i = 0; i < count; i++) print line[i] }' | tail -c "$STDERR_TAIL"
  cat "$DIR/out/timeout" 2>/dev/null
  return 0
}
