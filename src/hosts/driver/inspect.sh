# Owns the look at a host: facts and the tenancy record, told on stdout. Changes nothing, starts no process, needs only
# base.sh and tenancy.sh beside itself.

# Sets MANAGER.
service_manager() {
  if [ -d /run/systemd/system ]; then
    MANAGER=systemd
  elif [ -d /run/openrc ] || [ -x /sbin/openrc-run ]; then
    MANAGER=openrc
  elif [ -d /etc/init.d ]; then
    MANAGER=sysv
  else
    MANAGER=none
  fi
}

# Sets MY_UID, the effective one.
my_uid() {
  MY_UID=''
  while read -r mu_key mu_real mu_uid mu_rest; do
    case $mu_key in
      Uid:)
        MY_UID=$mu_uid
        break
        ;;
    esac
  done 2>/dev/null </proc/$$/status
  [ -n "$MY_UID" ] || MY_UID=$(id -u)
}

# Sets WORD: $1 when it is one plain word, else `-`.
word() {
  case $1 in
    '' | *[!A-Za-z0-9._+~-]*) WORD=- ;;
    *) WORD=$1 ;;
  esac
}

# Sets SY_id, SY_version, SY_codename from os-release, which is read, never executed.
os_release() {
  SY_id='' SY_version='' SY_codename=''
  for or_file in /etc/os-release /usr/lib/os-release; do
    [ -r "$or_file" ] || continue
    while IFS= read -r or_line || [ -n "$or_line" ]; do
      or_value=${or_line#*=}
      case $or_value in
        \"*\") or_value=${or_value#\"} or_value=${or_value%\"} ;;
        \'*\') or_value=${or_value#\'} or_value=${or_value%\'} ;;
      esac
      case $or_line in
        ID=*) SY_id=$or_value ;;
        VERSION_ID=*) SY_version=$or_value ;;
        VERSION_CODENAME=*) SY_codename=$or_value ;;
      esac
    done <"$or_file"
    break
  done
}

# What bootstrap data may ask about the system.
system() {
  sy_kernel='' sy_machine=''
  { read -r sy_kernel </proc/sys/kernel/osrelease; } 2>/dev/null
  # Linux 6.1 and newer say it without a process.
  { read -r sy_machine </proc/sys/kernel/arch; } 2>/dev/null || sy_machine=$(uname -m 2>/dev/null)
  os_release
  sy_words=''
  for sy_word in "$sy_kernel" "$sy_machine" "$SY_id" "$SY_version" "$SY_codename"; do
    word "$sy_word"
    sy_words="$sy_words $WORD"
  done
  emit "System$sy_words"
}

inspect() {
  where_am_i
  [ "$BOOT" != - ] || refuse_unsupported "/proc is not mounted"
  echo
  my_uid
  in_name=-
  { read -r in_name </proc/sys/kernel/hostname; } 2>/dev/null || in_name=-
  service_manager
  emit "Facts $BOOT $MANAGER $MY_UID ${in_name:--}"
  [ "$MY_UID" -eq 0 ] || refuse_unsupported "not root: uid $MY_UID"
  system
  if ! read_tenancy; then
    emit "DriverError the tenancy record $STATE/tenancy is damaged: look at the host, then remove the file"
  elif [ "$T_state" = none ]; then
    emit "Tenancy none"
  else
    tenancy_text
    emit "Tenancy $TENANCY_TEXT"
  fi
}
