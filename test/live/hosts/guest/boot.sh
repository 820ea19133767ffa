#!/bin/sh
# Boots one test host: PID 1 of fresh mount, PID, UTS and IPC namespaces runs this, then becomes sshd, openrc-init or systemd.
# `boot.sh light|openrc|systemd HOST_DIRECTORY NAME ADDRESS PORT`; HOST_DIRECTORY is prepared by Host.ts.
set -e
kind=$1 dir=$2 name=$3 address=$4 port=$5
# /proc is still the one outside: it tells this process' number there.
read -r pid rest </proc/self/stat
echo "$pid" >"$dir/pid"
echo "$name" >/proc/sys/kernel/hostname
cat /proc/sys/kernel/random/uuid >"$dir/boot_id"
mount -a -T "$dir/fstab"
cd /
if [ "$kind" = systemd ]; then
  exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=machinist-host \
    chroot "$dir/root" /lib/systemd/systemd --system --log-target=null
fi
if [ "$kind" = openrc ]; then
  exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot "$dir/root" /sbin/openrc-init
fi
mkdir -m 755 "$dir/root/run/sshd"
# What init would start at boot; of this machine's own scripts none.
chroot "$dir/root" /bin/sh -c 'for script in /etc/rc2.d/S[0-9][0-9]k0s*; do [ ! -x "$script" ] || "$script" start; done' \
  >/dev/null 2>&1 </dev/null || true
# sshd reaps whatever is orphaned on the host: it is a good enough init.
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  chroot "$dir/root" /usr/sbin/sshd -D -f /etc/ssh/machinist_sshd_config -o "ListenAddress=$address" -o "Port=$port"
