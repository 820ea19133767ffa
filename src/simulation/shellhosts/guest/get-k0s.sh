#!/bin/sh
# Stands in for the installer at https://get.k0s.sh: honours K0S_INSTALL_PATH and K0S_VERSION, does not make the
# directory, and writes in place, so that a running k0s is `Text file busy`, as with the real one.
set -e
. /usr/local/lib/machinist-test/common.sh
path=${K0S_INSTALL_PATH:-/usr/local/bin}
version=${K0S_VERSION:-v1.34.2+k0s.0}
witness get-k0s "$path" "$version"
obey get-k0s
echo "Downloading k0s from URL: https://github.com/k0sproject/k0s/releases/download/$version/k0s-$version-amd64"
if text_busy "$path/k0s"; then
  echo "sh: 1: cannot create $path/k0s: Text file busy" >&2
  exit 2
fi
sed "s/^k0s_version=.*/k0s_version=$version/" /usr/local/lib/machinist-test/k0s >"$path/k0s"
chmod 755 -- "$path/k0s"
echo "k0s is now executable in $path"
