# Owns reading the request that lies around the driver text in the same file (Wire.ts has the format). Sets Q_*.

# parse_request FILE. False: it was cut short or is none. Its end is read by one process, whatever lies before it; its last
# line says that all of it arrived.
parse_request() {
  Q_source=$1
  Q_verb='' Q_claim='' Q_machine='' Q_cluster='' Q_fence=0 Q_attempt=1 Q_timeout=1 Q_workdir='' Q_hash='' Q_sentinel=no
  Q_k0s=no Q_adopt=no Q_files='' Q_remove='' Q_verify='' Q_count=0 Q_blobs='' Q_header=''
  { read -r pr_name pr_version Q_blobs Q_header <"$1"; } 2>/dev/null || return 1
  [ "$pr_name $pr_version" = '#machinist-request 3' ] || return 1
  case $Q_blobs.$Q_header in .* | *. | *[!0-9.]*) return 1 ;; esac
  Q_text=$(tail -c "$Q_header" "$1" 2>/dev/null)
  set -f
  IFS=$NL
  set -- $Q_text
  IFS=" $TAB$NL"
  set +f
  for pr_line; do
    case $pr_line in
      '#|'* | '#.'*) ;;
      '#'*' '*)
        pr_line=${pr_line#?}
        request_line "${pr_line%% *}" "${pr_line#* }"
        ;;
    esac
  done
  case $Q_text in
    "$NL#machinist-header$NL"*"$NL#machinist-end $Q_blobs $Q_verb $Q_claim $Q_fence") ;;
    *) return 1 ;;
  esac
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
  [ "$2" -eq 0 ] || tail -c $((Q_blobs - $1 + Q_header)) "$Q_source" 2>/dev/null | head -c "$2"
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
