# Owns reading the request that lies around the driver text in the same file (Wire.ts has the format). Sets Q_*.

# A header of up to so many bytes is read by the shell itself, which asks the kernel for each one: past it a process is
# cheaper. One for each role that reads it.
HEADER_READ=2048

# parse_request FILE. False: it was cut short or is none. That all of the text arrived is told by its running at all, whose
# last line does that; behind blobs lies an end of its own.
parse_request() {
  Q_source=$1
  Q_verb='' Q_claim='' Q_machine='' Q_cluster='' Q_fence=0 Q_attempt=1 Q_timeout=1 Q_workdir='' Q_hash='' Q_sentinel=no
  Q_k0s=no Q_adopt=no Q_files='' Q_remove='' Q_verify='' Q_count=0 Q_blobs='' Q_text=''
  { read_header <"$1"; } 2>/dev/null || return 1
  set -f
  IFS=$NL
  set -- $Q_text
  IFS=" $TAB$NL"
  set +f
  [ $# -eq "$Q_lines" ] || return 1
  for pr_line; do
    case $pr_line in
      '#|'* | '#.'*) ;;
      '#'*' '*)
        pr_line=${pr_line#?}
        request_line "${pr_line%% *}" "${pr_line#* }"
        ;;
    esac
  done
  Q_end="$NL#machinist-end $Q_blobs $Q_verb $Q_claim $Q_fence"
  [ "$Q_blobs" -eq 0 ] || [ "$(tail -c ${#Q_end} "$Q_source" 2>/dev/null)" = "$Q_end" ]
}

# Sets Q_blobs, Q_lines and Q_text, the lines of the header, from stdin.
read_header() {
  IFS= read -r rh_first || return 1
  set -- $rh_first
  [ $# -eq 5 ] && [ "$1 $2" = '#machinist-request 4' ] || return 1
  case $3$4$5 in *[!0-9]*) return 1 ;; esac
  Q_blobs=$3 Q_lines=$5
  if [ "$4" -gt "$HEADER_READ" ]; then
    # From the beginning: how much of stdin the shell has taken is its own affair.
    rh_all=$(head -c $((${#rh_first} + 1 + $4)) "$Q_source")
    Q_text=${rh_all#*"$NL"}
    return 0
  fi
  rh_count=0
  while [ "$rh_count" -lt "$Q_lines" ]; do
    IFS= read -r rh_line || return 1
    Q_text=$Q_text$rh_line$NL
    rh_count=$((rh_count + 1))
  done
}

request_line() {
  case $1 in
    verb) Q_verb=$2 ;;
    claim) Q_claim=$2 ;;
    machine) Q_machine=$2 ;;
    cluster) Q_cluster=$2 ;;
    fence) Q_fence=$2 ;;
    attempt) Q_attempt=$2 ;;
    timeout) Q_timeout=$2 ;;
    workdir) Q_workdir=$2 ;;
    hash) Q_hash=$2 ;;
    sentinel) Q_sentinel=$2 ;;
    k0s) Q_k0s=$2 ;;
    adopt) Q_adopt=$2 ;;
    file) Q_files="$Q_files$2$NL" ;;
    remove) Q_remove="$Q_remove$2$NL" ;;
    verify) Q_verify="$Q_verify$2$NL" ;;
    step) Q_count=$((Q_count + 1)) ;;
  esac
}

# blob OFFSET LENGTH: its bytes, to stdout; found from the end, for only that place is known.
blob() {
  [ "$2" -eq 0 ] || tail -c $((Q_blobs - $1 + ${#Q_end})) "$Q_source" 2>/dev/null | head -c "$2"
}

# Characters of a step that are kept until they are written.
STEP_CHUNK=4096

# Each step's script becomes $DIR/step-<i>, by the shell's own means. Its lines follow the step's line, and begin with `#|`;
# `#.` begins a last one without a newline.
extract_steps() {
  es_index=0
  es_text=''
  set -f
  IFS=$NL
  set -- $Q_text
  IFS=" $TAB$NL"
  set +f
  for es_line; do
    case $es_line in
      '#|'*) es_text=$es_text${es_line#??}$NL ;;
      '#.'*) es_text=$es_text${es_line#??} ;;
      '#step '*)
        write_step || return 1
        es_index=$((es_index + 1))
        { : >"$DIR/step-$((es_index - 1))"; } 2>/dev/null || return 1
        ;;
    esac
    [ ${#es_text} -lt "$STEP_CHUNK" ] || write_step || return 1
  done
  write_step
}

# What is kept goes to the step before es_index.
write_step() {
  [ -n "$es_text" ] || return 0
  printf '%s' "$es_text" 2>/dev/null >>"$DIR/step-$((es_index - 1))" || return 1
  es_text=''
}
