#!/bin/sh
# Installs what the live suites start besides Node: sshd, sudo, systemd, etcd, cloud-init, Ignition and their tools. Debian
# or Ubuntu, as root; does nothing when everything is there. Starts no service. OpenRC is only fetched, into
# ${MACHINIST_CACHE:-$HOME/.cache/machinist}/openrc: installed it would take the place of this machine's own rc, so test
# hosts have it unpacked into their roots.
set -eu

PACKAGES="openssh-server openssh-client sudo iproute2 util-linux procps systemd dbus libpam-systemd busybox-static faketime curl openssl ca-certificates etcd-server"
# Not every release has them; the suites that need one say that they are skipped without it.
OPTIONAL="cloud-init ignition"
UNPACKED="openrc librc1 libeinfo1"
openrc="${MACHINIST_CACHE:-$HOME/.cache/machinist}/openrc"

say() { echo "install-test-packages: $*" >&2; }

installed() { [ "$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null || true)" = "install ok installed" ]; }

have_openrc() { for package in $UNPACKED; do ls "$openrc/${package}_"*.deb >/dev/null 2>&1 || return 1; done; }

# Into a directory of its own first: two that were cut off must not pass for three.
fetch_openrc() (
  have_openrc || ! command -v apt-get >/dev/null 2>&1 || {
    rm -rf "$openrc" "$openrc.new"
    mkdir -p "$openrc.new" && cd "$openrc.new" || exit 1
    # shellcheck disable=SC2086
    if { apt-get download -qq $UNPACKED || { apt-get update -qq && apt-get download -qq $UNPACKED; }; } >&2; then
      mv "$openrc.new" "$openrc"
    else
      rm -rf "$openrc.new"
      say "openrc is not to be had here: its suites are skipped"
    fi
  }
)
fetch_openrc || say "openrc could not be fetched: its suites are skipped"

missing=
for package in $PACKAGES; do installed "$package" || missing="$missing $package"; done
wanted=
for package in $OPTIONAL; do installed "$package" || wanted="$wanted $package"; done
if [ -n "$wanted" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  # shellcheck disable=SC2086
  apt-cache show $wanted >/dev/null 2>&1 || apt-get update -qq >&2 || true
  for package in $wanted; do
    if apt-cache show "$package" >/dev/null 2>&1; then missing="$missing $package"
    else say "$package is not to be had here: its suites are skipped"; fi
  done
elif [ -n "$wanted" ]; then
  say "without$wanted, whose suites are skipped"
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
  say "missing:$missing; run it as root, or: sudo apt-get install$missing"
  exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
  say "missing:$missing; this system has no apt-get, install them with its own package manager"
  exit 1
fi

# Debian starts what it installs: the suites start their own, on addresses of their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
# cloud-init would set this machine up at its next boot: here it only reads what the suites give it.
case "$missing " in
  *" cloud-init "*)
    mkdir -p /etc/cloud
    echo "by Machinist's scripts/install-test-packages.sh" >/etc/cloud/cloud-init.disabled
    ;;
esac
export DEBIAN_FRONTEND=noninteractive
say "installing$missing"
# The lists may be fresh enough; if not, update them and try again.
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >&2 || {
  apt-get update -qq >&2
  apt-get install -y -qq --no-install-recommends $missing >&2
}
