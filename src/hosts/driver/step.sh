# Owns one step's process: its own session, its environment, its end. Where its output goes is output.sh's, its time limit
# watchdog.sh's; which step runs when, and what its exit code means, run.sh's and clean.sh's.

# Becomes the step; `$1` its number.
become_step() {
  if [ -n "$Q_workdir" ] && ! cd "$Q_workdir"; then
    [ "$Q_verb" = clean ] || exit 126
    cd /
  fi
  # Not tagged yet: who comes after a driver that was killed would not find us, and run this step again.
  alive "$ME" || exit 137
  bs_script=$DIR/step-$1
  bs_session=$SESSION
  step_environment "$1"
  umask 022
  exec $bs_session sh "$bs_script"
}

# run_step STEP: sets CODE.
run_step() {
  output_of_step "$1"
  watch_step "$1"
  (become_step "$1") </dev/null >"$OUT.stdout" 2>"$OUT.stderr" 4>&- 7>&- 8>&-
  CODE=$?
  if step_timed_out; then
    CODE=124
    # The watchdog may have been stopped half way.
    kill_step "$1"
    # A cleaning goes on with the next step.
    [ "$Q_verb" = run ] || rm -f "$DIR/out/timeout"
  fi
  if [ "$CODE" -ne 0 ] && [ "$Q_verb" = run ]; then
    last_words
  fi
}
