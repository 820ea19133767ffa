#!/bin/sh
# Starts a test host: `power-on.sh CGROUP BOOT_SCRIPT ARGS…`. Joins the host's cgroup (empty: none), then lives as long
# as the host's PID 1; dies with whoever started it, and takes the host along.
set -e
cgroup=$1
shift
if [ -n "$cgroup" ]; then
  mkdir -p "$cgroup"
  echo $$ >"$cgroup/cgroup.procs"
  cgroup=--cgroup
fi
exec setpriv --pdeathsig KILL unshare --kill-child=KILL --fork --pid --mount --uts --ipc $cgroup sh "$@"
