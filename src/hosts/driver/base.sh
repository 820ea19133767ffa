# Owns what every other part of the driver stands on: constants, output, who we are, whether a process is the one that
# was meant. POSIX sh (dash, bash --posix, BusyBox ash), no `local`: a function's own variables begin with its letters.
# Only definitions here and in every file but main.sh.

STATE=/var/lib/machinist
SENTINEL=/run/cluster-api/bootstrap-success.complete
FIXED_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Seconds between two looks of a follower at the driver (each is a process), and looks between two heartbeat lines (15 s).
TICK_SECONDS=5
TICKS_A_HEARTBEAT=3
# Looks that a driver may take to show up once it was launched (10 s).
LAUNCH_TICKS=2
# Times one follower starts a driver again that died without a word.
MAX_RESTARTS=3
# Times a step may be interrupted in one attempt until it counts as failed.
MAX_INTERRUPTIONS=5
# Bytes of a failed step's stderr that are told.
STDERR_TAIL=2048
# Logs of a run's steps: three chunks of 512-byte blocks each: at most 3 MiB of stdout and 0.75 MiB of stderr.
LOG_BLOCKS=2048
ERR_BLOCKS=512
# Pauses of 0.1 s until TERM becomes KILL, and until a process that survived KILL is given up on.
TERM_PAUSES=30
KILL_PAUSES=50
# Pauses of 0.1 s that a lock is waited for (30 s).
LOCK_PAUSES=300

NL='
'
# Every shell begins with blank, tab and newline in IFS, whatever its environment says.
TAB=${IFS#?}
TAB=${TAB%?}

# Bytes of what is written in place, into the journal and the tenancy record: a line, padded, within one disk sector.
RECORD=128
BLANKS='                                                                                                                               '
ANY_127='???????????????????????????????????????????????????????????????????????????????????????????????????????????????????????????????'

# Sets PADDED to $1 with blanks to 127 characters; cut there if it is longer.
padded() {
  PADDED=$1$BLANKS
  pd_rest=${PADDED#$ANY_127}
  PADDED=${PADDED%"$pd_rest"}
}

# Tests replace this line, to kill the driver before and after each durable write.
failpoint() { :; }

emit() {
  printf 'machinist %s\n' "$*" || exit 1
}

# One printable line, bounded, from any text. Its processes are for what is told seldom.
one_line() {
  printf '%s' "$1" | tr '\n\t\r' '   ' | tr -d '\000-\037\177' | head -c "${2:-400}"
}

pause() {
  sleep 0.1 2>/dev/null || sleep 1
}

# The shell's own `read` asks the kernel for each byte: on long files, and in what is done for each step, that costs more
# than a process. Sets PS_start (clock ticks after boot), PS_parent and PS_comm of process $1; false when it is gone or a zombie.
process() {
  PS_start='' PS_parent=0 PS_comm=''
  { IFS= read -r ps_line <"/proc/$1/stat"; } 2>/dev/null || return 1
  ps_comm=${ps_line#*\(}
  PS_comm=${ps_comm%\)*}
  set -- ${ps_line##*\) }
  case $1 in Z | X) return 1 ;; esac
  PS_parent=$2
  shift 19
  PS_start=$1
}

# `$1` is "BOOT PID START": is exactly that process still there?
alive() {
  set -- $1
  [ $# -eq 3 ] && [ "$1" = "$BOOT" ] && process "$2" && [ "$PS_start" = "$3" ]
}

# Sets BOOT; and how this shell behaves.
where_am_i() {
  umask 077
  set -u
  LC_ALL=C
  PATH=$FIXED_PATH
  export LC_ALL PATH
  IFS=" $TAB$NL"
  BOOT=-
  { read -r BOOT </proc/sys/kernel/random/boot_id; } 2>/dev/null || BOOT=-
}

# Sets BOOT and ME ("BOOT PID START" of this shell).
who_am_i() {
  where_am_i
  process $$ || refuse_unsupported "/proc is not mounted"
  ME="$BOOT $$ $PS_start"
}

refuse_unsupported() {
  emit "Refused unsupported $1"
  exit 0
}

# The tools that everything below takes for granted; BusyBox has all of them.
need_tools() {
  for nt_tool in awk cat chmod chown cmp dd grep head ls mkdir mkfifo mv rm rmdir sed sleep sort sync tail tr wc; do
    # Most are there: that is one look each instead of one in every directory of PATH.
    [ -x "/usr/bin/$nt_tool" ] || command -v "$nt_tool" >/dev/null 2>&1 || refuse_unsupported "the host lacks $nt_tool"
  done
}

# To disk, now, in this order. Old tools know no `sync FILE…`: then everything is synced.
sync_paths() {
  sync "$@" 2>/dev/null || sync
}

# The same for files that were written over in place: their size did not change, so nothing but their data has to follow.
# False: the disk did not take it. Tools that know no `-d`, or no FILE, end well only the second time.
sync_data() {
  sync -d "$@" 2>/dev/null || sync "$@" 2>/dev/null
}

# Sets NOW: seconds since boot. No process, and no clock that jumps.
uptime_now() {
  { IFS=' .' read -r NOW un_rest </proc/uptime; } 2>/dev/null || NOW=0
}
