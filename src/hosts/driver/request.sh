# Owns reading the request that follows the driver text in the same file (Wire.ts has the format). Sets Q_*.

# parse_request FILE. False: it was cut short or is none.
parse_request() {
  Q_source=$1
  Q_verb='' Q_claim='' Q_machine='' Q_cluster='' Q_fence=0 Q_attempt=1 Q_timeout=1 Q_workdir='' Q_hash='' Q_sentinel=no
  Q_k0s=no Q_adopt=no Q_files='' Q_steps='' Q_remove='' Q_verify='' Q_count=0 Q_blobs=''
  pr_text=$(sed '/^#$/q' "$1" 2>/dev/null)
  set -f
  IFS=$NL
  set -- $pr_text
  IFS=" $TAB$NL"
  set +f
  for pr_line; do
    case $pr_line in
      '#machinist-request 2 '*) Q_blobs=${pr_line##* } ;;
      '#'*' '*)
        pr_line=${pr_line#?}
        request_line "${pr_line%% *}" "${pr_line#* }"
        ;;
    esac
  done
  [ -n "$Q_blobs" ] || return 1
  Q_end="#machinist-end $Q_blobs $Q_verb $Q_claim $Q_fence"
}

# Did all of it arrive? Its last words say so.
request_whole() {
  [ "$(tail -c $((${#Q_end} + 1)) "$Q_source" 2>/dev/null)" = "$NL$Q_end" ]
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

# blob OFFSET LENGTH: its bytes, to stdout; found from the end, for only that place is known.
blob() {
  [ "$2" -eq 0 ] || tail -c $((Q_blobs - $1 + ${#Q_end} + 1)) "$Q_source" 2>/dev/null | head -c "$2"
}

# Each step's script becomes $DIR/step-<i>. They are the first blobs, one after the other, and text: one awk cuts them.
extract_steps() {
  es_lengths=''
  es_total=0
  es_index=0
  set -f
  IFS=$NL
  for es_line in $Q_steps; do
    es_line=${es_line#* }
    es_lengths="$es_lengths${es_line%% *} "
    es_total=$((es_total + ${es_line%% *}))
    { : >"$DIR/step-$es_index"; } 2>/dev/null || return 1
    es_index=$((es_index + 1))
  done
  IFS=" $TAB$NL"
  set +f
  [ "$es_total" -gt 0 ] || return 0
  awk -v dir="$DIR" -v lengths="$es_lengths" '
    BEGIN { ORS = ""; count = split(lengths, len, " "); at = 1; left = len[1] }
    !on { on = $0 == "#machinist-blobs-follow"; next }
    {
      text = $0 "\n"
      while (length(text) >= left) {
        path = dir "/step-" (at - 1)
        print substr(text, 1, left) > path
        if (close(path) != 0) exit 1
        text = substr(text, left + 1)
        if (++at > count) exit
        left = len[at]
      }
      print text > (dir "/step-" (at - 1))
      left -= length(text)
    }
    END { if (at <= count) exit 1 }' "$Q_source" 2>/dev/null || return 1
  # An awk that does not tell that the disk was full.
  es_written=$(wc -c "$DIR"/step-* 2>/dev/null) || return 1
  set -f
  set -- ${es_written##*"$NL"}
  set +f
  [ "${1:-0}" -eq "$es_total" ]
}
