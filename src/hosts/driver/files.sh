# Owns the files of a run: each to a temporary name in its directory, with mode and owner, then renamed; so a reader sees
# the old file or the whole new one. $DIR/written lists what was made, for cleaning:
#   c PATH  file that was not there before      w PATH  file that was      d PATH  directory that was made
#   u UNIT  systemd unit that a step enabled

noted() {
  while IFS= read -r nd_line; do
    [ "$nd_line" != "$1" ] || return 0
  done 2>/dev/null <"$DIR/written"
  return 1
}

note() {
  noted "$1" || printf '%s\n' "$1" 2>/dev/null >>"$DIR/written"
}

# Makes directory $1 and its parents, 0755, and notes those that were missing.
make_directory() {
  case $1 in '' | /) return 0 ;; esac
  [ ! -d "$1" ] || return 0
  md_missing=$1
  md_list=''
  while [ ! -d "$md_missing" ] && [ -n "$md_missing" ]; do
    md_list="d $md_missing$NL$md_list"
    md_missing=${md_missing%/*}
  done
  # From the top, so that removing backwards starts at the bottom.
  printf '%s' "$md_list" 2>/dev/null >>"$DIR/written" || return 1
  (umask 022 && mkdir -p "$1") 2>/dev/null
}

# A line of Q_files: OFFSET LENGTH MODE OWNER APPEND PATH.
place_file() {
  pf_rest=$1
  pf_offset=${pf_rest%% *} pf_rest=${pf_rest#* }
  pf_length=${pf_rest%% *} pf_rest=${pf_rest#* }
  pf_mode=${pf_rest%% *} pf_rest=${pf_rest#* }
  pf_owner=${pf_rest%% *} pf_rest=${pf_rest#* }
  pf_append=${pf_rest%% *}
  pf_path=${pf_rest#* }
  pf_dir=${pf_path%/*}
  PROBLEM="can not write $pf_path"
  make_directory "$pf_dir" || return 1
  if [ -d "$pf_path" ]; then
    PROBLEM="can not write $pf_path: it is a directory"
    return 1
  fi
  if [ -e "$pf_path" ]; then
    noted "c $pf_path" || note "w $pf_path" || return 1
  else
    note "c $pf_path" || return 1
  fi
  pf_new=$pf_dir/.machinist-$Q_claim
  failpoint "file $pf_path"
  if [ "$pf_append" = append ] && [ -e "$pf_path" ]; then
    append_blob || return 1
  else
    blob "$pf_offset" "$pf_length" 2>/dev/null >"$pf_new" || return 1
    [ $(($(wc -c <"$pf_new"))) -eq "$pf_length" ] || return 1
  fi
  # The mode last: until then only root can read it, and chown drops setuid.
  if [ "$pf_owner" != - ]; then
    PROBLEM="can not give $pf_path to $pf_owner: is there such a user and group?"
    chown "$pf_owner" "$pf_new" 2>/dev/null || return 1
  fi
  PROBLEM="can not write $pf_path"
  chmod "$pf_mode" "$pf_new" 2>/dev/null || return 1
  sync_paths "$pf_new"
  mv -f "$pf_new" "$pf_path" 2>/dev/null || return 1
  failpoint "file $pf_path written"
}

# Not twice, when the driver died between the rename and the record: what ends with it has it.
append_blob() {
  cat "$pf_path" 2>/dev/null >"$pf_new" || return 1
  ab_size=$(($(wc -c <"$pf_path")))
  [ $(($(wc -c <"$pf_new"))) -eq "$ab_size" ] || return 1
  blob "$pf_offset" "$pf_length" 2>/dev/null >"$DIR/blob" || return 1
  if [ "$ab_size" -ge "$pf_length" ] && tail -c "$pf_length" "$pf_new" | cmp -s - "$DIR/blob"; then
    rm -f "$DIR/blob"
    return 0
  fi
  cat "$DIR/blob" 2>/dev/null >>"$pf_new" || return 1
  rm -f "$DIR/blob"
  [ $(($(wc -c <"$pf_new"))) -eq $((ab_size + pf_length)) ]
}

place_files() {
  if [ -n "$UNSYNCED" ] && [ -n "$Q_files$Q_workdir" ]; then
    sync_paths "$UNSYNCED"
    UNSYNCED=''
  fi
  if [ -n "$Q_workdir" ] && ! make_directory "$Q_workdir"; then
    PROBLEM="can not make the working directory $Q_workdir"
    return 1
  fi
  set -f
  IFS=$NL
  for fs_line in $Q_files; do
    IFS=" $TAB$NL"
    set +f
    place_file "$fs_line" || return 1
  done
  IFS=" $TAB$NL"
  set +f
}
