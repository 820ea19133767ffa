# Owns reading the request that follows the driver text in the same file (Wire.ts has the format). Sets Q_*.

# parse_request FILE. False: it was cut short or is none.
parse_request() {
  Q_source=$1
  Q_verb='' Q_claim='' Q_machine='' Q_cluster='' Q_fence=0 Q_attempt=1 Q_timeout=1 Q_workdir='' Q_hash='' Q_sentinel=no
  Q_k0s=no Q_adopt=no Q_files='' Q_steps='' Q_remove='' Q_verify='' Q_count=0
  pr_at=$(sed '/^#machinist-request-follows$/q' "$1" | wc -c)
  pr_first=$(tail -c +$((pr_at + 1)) "$1" 2>/dev/null | head -n 1 | tr -d '\000')
  case $pr_first in "machinist-request 1 "*) ;; *) return 1 ;; esac
  set -- $pr_first
  pr_header=$(decimal "$3")
  pr_blobs=$(decimal "$4")
  Q_blobs=$((pr_at + pr_header))
  [ $(($(wc -c <"$Q_source"))) -eq $((Q_blobs + pr_blobs)) ] || return 1
  pr_text=$(tail -c +$((pr_at + 1)) "$Q_source" 2>/dev/null | head -c "$pr_header")
  set -f
  IFS=$NL
  for pr_line in $pr_text; do
    IFS=" $TAB$NL"
    request_line "${pr_line%% *}" "${pr_line#* }"
  done
  IFS=" $TAB$NL"
  set +f
}

# Without leading zeros, which would make it octal.
decimal() {
  dc_value=${1#"${1%%[!0]*}"}
  echo "${dc_value:-0}"
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
    step)
      Q_steps="$Q_steps$2$NL"
      Q_count=$((Q_count + 1))
      ;;
  esac
}

# blob OFFSET LENGTH: its bytes, to stdout.
blob() {
  [ "$2" -eq 0 ] || tail -c +$((Q_blobs + $1 + 1)) "$Q_source" 2>/dev/null | head -c "$2"
}

# Each step's script becomes $DIR/step-<i>.
extract_steps() {
  es_index=0
  while [ "$es_index" -lt "$Q_count" ]; do
    es_line=$(printf '%s' "$Q_steps" | sed -n "$((es_index + 1))p")
    set -- $es_line
    blob "$1" "$2" 2>/dev/null >"$DIR/step-$es_index" || return 1
    [ $(($(wc -c <"$DIR/step-$es_index"))) -eq "$2" ] || return 1
    es_index=$((es_index + 1))
  done
}
