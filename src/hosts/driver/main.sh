# Owns what the driver text does when it is run for the one who is connected: `sh FILE FILE`. Nothing before its last line,
# so a text that was cut short does nothing.

front() {
  INCOMING=$1 REQUEST=$1
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

front "$1"
exit
