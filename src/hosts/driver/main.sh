# Owns what the driver text does when it is run: nothing before its last line. Three roles: `sh -s` inspects; `sh FILE
# FILE` acts for the one who is connected; `sh FILE drive DIR` is the detached driver.

service_manager() {
  if [ -d /run/systemd/system ]; then
    echo systemd
  elif [ -d /run/openrc ] || [ -x /sbin/openrc-run ]; then
    echo openrc
  elif [ -d /etc/init.d ]; then
    echo sysv
  else
    echo none
  fi
}

# $1 when it is one plain word, else `-`.
word() {
  case $1 in
    '' | *[!A-Za-z0-9._+~-]*) printf '%s' - ;;
    *) printf '%s' "$1" ;;
  esac
}

# What bootstrap data may ask about the system. os-release is read, never executed.
system() {
  sy_kernel='' sy_id='' sy_version='' sy_codename=''
  { read -r sy_kernel </proc/sys/kernel/osrelease; } 2>/dev/null
  for sy_file in /etc/os-release /usr/lib/os-release; do
    [ -r "$sy_file" ] || continue
    while IFS= read -r sy_line || [ -n "$sy_line" ]; do
      sy_value=${sy_line#*=}
      case $sy_value in
        \"*\") sy_value=${sy_value#\"} sy_value=${sy_value%\"} ;;
        \'*\') sy_value=${sy_value#\'} sy_value=${sy_value%\'} ;;
      esac
      case $sy_line in
        ID=*) sy_id=$sy_value ;;
        VERSION_ID=*) sy_version=$sy_value ;;
        VERSION_CODENAME=*) sy_codename=$sy_value ;;
      esac
    done <"$sy_file"
    break
  done
  sy_machine=$(uname -m 2>/dev/null)
  emit "System $(word "$sy_kernel") $(word "$sy_machine") $(word "$sy_id") $(word "$sy_version") $(word "$sy_codename")"
}

# Changes nothing.
inspect() {
  who_am_i
  echo
  in_uid=$(id -u)
  in_name=-
  { read -r in_name </proc/sys/kernel/hostname; } 2>/dev/null || in_name=-
  emit "Facts $BOOT $(service_manager) $in_uid ${in_name:--}"
  [ "$in_uid" -eq 0 ] || refuse_unsupported "not root: uid $in_uid"
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

front() {
  INCOMING=$1
  trap follower_gone EXIT
  trap 'exit 1' HUP INT TERM PIPE
  who_am_i
  # A banner of the login shell may have ended without a newline.
  echo
  need_tools
  find_session
  DIR=$STATE
  JOURNAL=-
  parse_request "$1" || fail "the request was cut short on its way"
  case $Q_verb in
    run | clean) follow ;;
    quarantine) quarantine ;;
    *) fail "the request has no verb that this driver knows" ;;
  esac
}

find_session() {
  SESSION=''
  ! command -v setsid >/dev/null 2>&1 || SESSION=setsid
}

drive() {
  DIR=$1
  JOURNAL=$DIR/journal
  cd / && exec 2>>"$DIR/driver.err"
  who_am_i
  find_session
  parse_request "$DIR/exec" || exit 1
  lock || exit 1
  # Two followers may both have launched one: the second finds the first alive.
  if driver_alive; then
    unlock
    exit 0
  fi
  printf '%s\n' "$ME" 2>/dev/null >"$DIR/driver.new" && mv -f "$DIR/driver.new" "$DIR/driver"
  driver_id
  unlock
  scan_journal
  # A driver that nobody can find must not run: a second one would be launched beside it.
  [ "$DRIVER" = "$ME" ] || die "no space left on $STATE"
  [ -z "$J_started" ] || kill_watchdogs
  case $Q_verb in
    run) drive_run ;;
    clean) drive_clean ;;
  esac
}

case ${1-} in
  drive) drive "$2" ;;
  '') inspect ;;
  *) front "$1" ;;
esac
exit
