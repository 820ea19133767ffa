#!/bin/sh
# Owns the making of one host: runs as root of fresh mount, PID, UTS and IPC namespaces (of a user namespace, where that is
# all there is) and becomes the host's PID 1. `boot.sh ROOM NAME ADDRESS GUEST SHARED whole|parts [DISK]`: ROOM an empty
# directory to mount in, GUEST this directory, SHARED what the host shares with whoever made it, DISK where its disk lies
# when it is to outlive this boot. Lives as long as its standard input.
set -e
room=$1 name=$2 address=$3 guest=$4 shared=$5 manner=$6 disk=${7:-}
# A host is gone with its namespaces, and all that it wrote: it was in memory.
mount -t tmpfs -o mode=755 tmpfs "$room"
base=$room/base root=$room/root
[ -n "$disk" ] || disk=$room/disk
mkdir -p "$base" "$root" "$disk/upper" "$disk/work"
mkdir -p "$base/usr/local/sbin" "$base/usr/local/bin" "$base/usr/local/lib/machinist-test" "$base/etc/machinist-test/fail" \
  "$base/etc/machinist-test/hang" "$base/witness" "$base/mailbox"
for file in curl oras witness; do cp "$guest/$file" "$base/usr/local/bin/$file"; done
cp "$guest/sh" "$base/usr/local/sbin/sh"
for file in systemctl docker apt-get sysctl kubectl; do cp "$guest/pretend" "$base/usr/local/sbin/$file"; done
chmod 755 "$base"/usr/local/bin/* "$base"/usr/local/sbin/*
for file in k0s get-k0s.sh get-docker.sh not-found common.sh residue; do cp "$guest/$file" "$base/usr/local/lib/machinist-test/$file"; done
echo "$name" >"$base/etc/hostname"
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" >"$base/etc/hosts"
: >"$base/etc/environment"
: >"$base/etc/sysctl.conf"

# over NAME: this machine's /NAME, as the host may change it. Extended attributes: where only a user's are to be had.
over() {
  mkdir -p "$base/$1" "$disk/upper/$1" "$disk/work/$1" "$root/$1"
  places=lowerdir=$base/$1:/$1,upperdir=$disk/upper/$1,workdir=$disk/work/$1
  mount -t overlay overlay -o "$places,userxattr" "$root/$1" 2>/dev/null || mount -t overlay overlay -o "$places" "$root/$1"
}

if [ "$manner" = whole ]; then
  mount -t overlay overlay -o "lowerdir=$base:/,upperdir=$disk/upper,workdir=$disk/work" "$root"
else
  # A user namespace may not take the root as a whole: other file systems are mounted on it. And its root may write in
  # no directory of this machine's root: those that are written in get an owner from the layer on top.
  for path in var/lib var/log var/tmp var/cache var/run etc/init.d etc/rc0.d etc/rc1.d etc/rc2.d etc/rc3.d etc/rc4.d \
    etc/rc5.d etc/rc6.d etc/systemd/system etc/cni usr/bin usr/sbin; do
    [ -L "/$path" ] || mkdir -p "$base/$path"
  done
  for path in /*; do if [ -L "$path" ]; then cp -P "$path" "$root"; fi; done
  over usr
  over var 2>/dev/null || mkdir -p "$root/var/lib" "$root/var/log" "$root/var/tmp"
  # Containers mount single files into /etc.
  over etc 2>/dev/null || { cp -R /etc/. "$root/etc" 2>/dev/null || true; cp -R "$base/etc/." "$root/etc"; }
  if [ ! -L /bin ]; then for name_of in bin sbin lib; do over "$name_of"; done; fi
  [ ! -d /lib64 ] || [ -L /lib64 ] || over lib64
  mkdir -p "$root/root" "$root/witness" "$root/mailbox"
fi
# What the machine below may have, and a fresh host has not. Not again at a later boot: then it is the host's own.
if [ ! -e "$root/etc/machinist-test/booted" ]; then
  rm -rf "$root/var/lib/machinist" "$root/var/lib/k0s" "$root/etc/k0s" "$root/etc/k0s.token" "$root/etc/k0smotron" \
    "$root/etc/init.d/k0sworker" "$root/etc/init.d/k0scontroller" "$root/usr/local/bin/k0s" "$root/etc/cni"
  : >"$root/etc/machinist-test/booted"
fi
mkdir -p "$root/proc" "$root/dev" "$root/run" "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
cat /proc/sys/kernel/random/uuid >"$room/boot_id"
mount --bind "$room/boot_id" "$root/proc/sys/kernel/random/boot_id"
mount --bind "$shared/witness" "$root/witness"
mount --bind "$shared/mailbox" "$root/mailbox"
hostname "$name"
# PID 1 collects whatever is orphaned: sh's wait for one child takes all others too.
exec chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /bin/sh -c '
  exec 3<&0
  for script in /etc/rc2.d/S[0-9][0-9]k0s*; do [ ! -x "$script" ] || "$script" start; done >/dev/null 2>&1
  cat <&3 >/dev/null &
  echo up
  exec >/dev/null 2>&1
  wait $!'
