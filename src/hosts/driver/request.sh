# Owns reading the request that follows the driver text in the same file (Wire.ts has the format). Sets Q_*.

# parse_request FILE. False: it was cut short or is none.
parse_request() {
  Q_source=$1
  Q_verb='' Q_claim='' Q_machine='' Q_cluster='' Q_fence=0 Q_attempt=1 Q_timeout=1 Q_workdir='' Q_hash='' Q_sentinel=no
  Q_k0s=no Q_adopt=no Q_files='' Q_steps='' Q_remove='' Q_verify='' Q_count=0
  # Where the header begins, then its lines: one process, for a host may have many of us and few cores.
  pr_text=$(awk '
    on && $0 == "" { exit }
    on { print }
    !on { at += length($0) + 1 }
    $0 == "#machinist-request-follows" { on = 1; print at }' "$1" 2>/dev/null)
  set -f
  IFS=$NL
  set -- $pr_text
  IFS=" $TAB$NL"
  set +f
  case ${2-} in "machinist-request 1 "*) ;; *) return 1 ;; esac
  pr_at=$1
  parse_sizes $2
  Q_blobs=$((pr_at + pr_header))
  [ $(($(wc -c <"$Q_source"))) -eq $((Q_blobs + pr_blobs)) ] || return 1
  shift 2
  for pr_line; do
    request_line "${pr_line%% *}" "${pr_line#* }"
  done
}

# The words of the first line.
parse_sizes() {
  decimal "$3"
  pr_header=$DECIMAL
  decimal "$4"
  pr_blobs=$DECIMAL
}

# Sets DECIMAL to $1 without leading zeros, which would make it octal.
decimal() {
  DECIMAL=${1#"${1%%[!0]*}"}
  DECIMAL=${DECIMAL:-0}
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

# Each step's script becomes $DIR/step-<i>. They are the last blobs, one after the other, and text: one awk cuts them.
extract_steps() {
  es_lengths=''
  es_total=0
  es_first=''
  set -f
  IFS=$NL
  for es_line in $Q_steps; do
    es_offset=${es_line%% *} es_line=${es_line#* }
    decimal "${es_line%% *}"
    es_lengths="$es_lengths$DECIMAL "
    es_total=$((es_total + DECIMAL))
    decimal "$es_offset"
    es_first=${es_first:-$DECIMAL}
  done
  IFS=" $TAB$NL"
  set +f
  es_index=0
  while [ "$es_index" -lt "$Q_count" ]; do
    { : >"$DIR/step-$es_index"; } 2>/dev/null || return 1
    es_index=$((es_index + 1))
  done
  [ "$es_total" -gt 0 ] || return 0
  tail -c +$((Q_blobs + es_first + 1)) "$Q_source" 2>/dev/null | awk -v dir="$DIR" -v lengths="$es_lengths" '
    BEGIN { ORS = ""; count = split(lengths, len, " "); at = 1; left = len[1] }
    {
      text = $0 "\n"
      while (length(text) >= left) {
        print substr(text, 1, left) > (dir "/step-" (at - 1))
        close(dir "/step-" (at - 1))
        text = substr(text, left + 1)
        if (++at > count) exit
        left = len[at]
      }
      print text > (dir "/step-" (at - 1))
      left -= length(text)
    }' 2>/dev/null
  es_written=$(cat "$DIR"/step-* | wc -c)
  [ "$((es_written))" -eq "$es_total" ]
}
