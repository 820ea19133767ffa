# Owns one step's process: its own session, a time limit, output that never blocks it and never fills the disk. Which
# step runs when, and what its exit code means, is run.sh's and clean.sh's.
#
# Output goes through two fifos into $DIR/out/<step>.<n>.{log,err}.*: stdout into the one, stderr into the other, by one
# reader each (a host may have few cores, and each process more is felt by every step of every host). The readers outlive
# the step as long as a daemon of it holds the fifos: neither SIGPIPE nor a full pipe may ever hit that.

# rotate FILE BLOCKS: stdin into FILE.{older,old,now}, each at most BLOCKS blocks, to the end; a full disk loses output
# only. `dd` writes what it has read at once and counts reads, so BLOCKS*512 bytes is a bound, not an exact size.
rotate() {
  while dd bs=512 count="$2" of="$1.now" 2>/dev/null; do
    [ -s "$1.now" ] || return 0
    mv -f "$1.old" "$1.older" 2>/dev/null
    mv -f "$1.now" "$1.old" 2>/dev/null
  done
  cat >/dev/null
}

# Ends the step when its time is over, unless the driver that set it is gone.
watchdog() {
  wd_sleep=''
  trap '[ -z "$wd_sleep" ] || kill "$wd_sleep" 2>/dev/null; exit 0' TERM
  MACHINIST_WATCH=$Q_claim sleep "$Q_timeout" &
  wd_sleep=$!
  wait "$wd_sleep"
  alive "$ME" || exit 0
  echo "machinist: step timed out after $Q_timeout s" >"$OUT.timeout"
  kill_step "$1"
}

# Becomes the step; `$1` its number.
become_step() {
  if [ -n "$Q_workdir" ] && ! cd "$Q_workdir"; then
    [ "$Q_verb" = clean ] || exit 126
    cd /
  fi
  bs_script=$DIR/step-$1
  bs_session=$SESSION
  step_environment "$1"
  umask 022
  exec $bs_session sh "$bs_script"
}

# run_step STEP: sets CODE.
run_step() {
  for rp_old in "$DIR/out/$1".*; do
    [ ! -e "$rp_old" ] || rm -f "$rp_old"
  done
  OUT=$DIR/out/$1.$J_count
  [ -d "$DIR/out" ] || mkdir "$DIR/out" || die "can not make $DIR/out"
  mkfifo "$OUT.stdout" "$OUT.stderr" || die "can not make $OUT.stdout"
  rotate "$OUT.log" "$LOG_BLOCKS" <"$OUT.stdout" >/dev/null 2>&1 &
  rotate "$OUT.err" "$ERR_BLOCKS" <"$OUT.stderr" >/dev/null 2>&1 &
  rp_drain=$!
  watchdog "$1" </dev/null >/dev/null 2>&1 &
  rp_watchdog=$!
  (become_step "$1") </dev/null >"$OUT.stdout" 2>"$OUT.stderr"
  CODE=$?
  kill -TERM "$rp_watchdog" 2>/dev/null
  wait "$rp_watchdog" 2>/dev/null
  if [ -e "$OUT.timeout" ]; then
    CODE=124
    # The watchdog may have been stopped half way.
    kill_step "$1"
  fi
  if [ "$CODE" -ne 0 ]; then
    # What it wrote last may still be on its way; a daemon may hold the pipe for ever.
    rp_pauses=0
    while process "$rp_drain" && [ "$rp_pauses" -lt 10 ]; do
      rp_pauses=$((rp_pauses + 1))
      pause
    done
  fi
}

# The last words of step $1, printable, to stdout.
stderr_tail() {
  for st_fifo in "$DIR/out/$1".*.stderr; do
    [ -p "$st_fifo" ] || continue
    st_out=${st_fifo%.stderr}
    cat "$st_out.err.older" "$st_out.err.old" "$st_out.err.now" 2>/dev/null |
      tail -c "$STDERR_TAIL" | tr '\r' '\n' | tr -d '\000-\010\013-\037\177' | sed '/^[[:blank:]]*$/d'
    cat "$st_out.timeout" 2>/dev/null
  done
  return 0
}
