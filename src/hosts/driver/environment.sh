# Owns the environment of a step: a fixed PATH, root's home, and /etc/environment as it is now (a step may have added to
# it). That file is read, never executed: `X=Y`, `export X=Y`, quoted or not. Runs in the subshell that becomes the step.

step_environment() {
  unset LC_ALL ENV BASH_ENV MACHINIST_DRIVER MACHINIST_WATCH
  PATH=$FIXED_PATH
  HOME=/root
  USER=root
  LOGNAME=root
  SHELL=/bin/sh
  export PATH HOME USER LOGNAME SHELL
  if [ -r /etc/environment ]; then
    while IFS= read -r se_line || [ -n "$se_line" ]; do
      environment_line "$se_line"
    done </etc/environment
  fi
  IFS=" $TAB$NL"
  MACHINIST_CLAIM=$Q_claim
  MACHINIST_STEP=$Q_claim.$Q_verb.$1
  # Where a step may note what it makes, for cleaning (files.sh has the letters).
  MACHINIST_WRITTEN=$DIR/written
  export MACHINIST_CLAIM MACHINIST_STEP MACHINIST_WRITTEN
}

# Sets TRIMMED to $1 without blanks, and a carriage return, around it.
trim() {
  TRIMMED=${1#"${1%%[! $TAB]*}"}
  TRIMMED=${TRIMMED%[[:cntrl:]]}
  TRIMMED=${TRIMMED%"${TRIMMED##*[! $TAB]}"}
}

environment_line() {
  trim "$1"
  case $TRIMMED in
    '' | '#'*) return 0 ;;
    "export "* | "export$TAB"*)
      trim "${TRIMMED#export}"
      ;;
  esac
  case $TRIMMED in *=*) ;; *) return 0 ;; esac
  el_name=${TRIMMED%%=*}
  el_value=${TRIMMED#*=}
  # Not a name; or one that a shell keeps for itself, and would die of.
  case $el_name in
    '' | [0-9]* | *[!A-Za-z0-9_]*) return 0 ;;
    IFS | ENV | OPTIND | OPTARG | PPID | UID | EUID | GROUPS | SHELLOPTS | LINENO | RANDOM | BASH*) return 0 ;;
    MACHINIST_*) return 0 ;;
    el_* | se_* | Q_* | TRIMMED | TAB | NL | FIXED_PATH | DIR | OUT | STATE | SESSION) return 0 ;;
  esac
  case $el_value in
    \"*) el_value=${el_value#\"} el_value=${el_value%%\"*} ;;
    \'*) el_value=${el_value#\'} el_value=${el_value%%\'*} ;;
    *)
      trim "${el_value%% \#*}"
      el_value=$TRIMMED
      ;;
  esac
  if [ "$el_name" = PATH ]; then
    extend_path "$el_value"
  else
    export "$el_name=$el_value"
  fi
}

# The fixed PATH stays in front: an /etc/environment that forgets /usr/local/bin must not hide k0s.
extend_path() {
  ep_rest=$1:
  while [ -n "$ep_rest" ]; do
    ep_part=${ep_rest%%:*}
    ep_rest=${ep_rest#*:}
    case $ep_part in '' | *'$'*) continue ;; esac
    case :$PATH: in *":$ep_part:"*) ;; *) PATH=$PATH:$ep_part ;; esac
  done
}
