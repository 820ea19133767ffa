#!/bin/sh
# Owns getting a real kube-apiserver and etcd for the live tests, and prints the directory they are in. Does not start them
# (test/live/apiserver does).
#
#   scripts/build-kube-apiserver.sh [--check]
#
# Found in this order: $KUBEBUILDER_ASSETS (kube-apiserver and etcd in one directory, as envtest lays them out), then the
# cache ${MACHINIST_CACHE:-$HOME/.cache/machinist}/kube-apiserver-<version>. Otherwise kube-apiserver is built there from
# the Go module k8s.io/kubernetes (about 3 minutes on 2 cores, once), and etcd comes from Debian's etcd-server.
# --check builds and installs nothing: exit code 1 says that something would have to be.
# Idempotent; parallel callers wait for each other (flock). Progress goes to stderr, the one line on stdout is the directory.
set -eu

version="${MACHINIST_KUBE_VERSION:-v1.34.4}"
cache="${MACHINIST_CACHE:-$HOME/.cache/machinist}"
dir="$cache/kube-apiserver-$version"

say() { echo "build-kube-apiserver: $*" >&2; }
die() { say "$*"; exit 1; }

if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/kube-apiserver" ] && [ -x "$KUBEBUILDER_ASSETS/etcd" ]; then
  echo "$KUBEBUILDER_ASSETS"
  exit 0
fi

check=false
[ "${1:-}" = "--check" ] && check=true

# The binary is renamed into place when it is whole, so its being there means that it can be used.
ready() { [ -x "$dir/kube-apiserver" ] && { [ -x "$dir/etcd" ] || command -v etcd >/dev/null 2>&1; }; }

if ready; then
  [ -e "$dir/etcd" ] || ln -sf "$(command -v etcd)" "$dir/etcd" 2>/dev/null || true
  echo "$dir"
  exit 0
fi
if $check; then
  [ -x "$dir/kube-apiserver" ] || command -v go >/dev/null 2>&1 || say "no kube-apiserver in $dir, and no Go to build it"
  exit 1
fi

mkdir -p "$dir"
exec 9>"$dir/.lock"
if command -v flock >/dev/null 2>&1; then flock 9; fi

if [ ! -x "$dir/etcd" ]; then
  if ! command -v etcd >/dev/null 2>&1; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
      die "no etcd on PATH: install Debian's etcd-server, or set KUBEBUILDER_ASSETS"
    fi
    say "installing etcd-server"
    # RUNLEVEL=1: the package's own daemon must not start; tests run theirs, on free ports.
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends etcd-server >&2 9>&- ||
      { apt-get update >&2 9>&- && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends etcd-server >&2 9>&-; } ||
      die "etcd-server could not be installed"
  fi
  ln -sf "$(command -v etcd)" "$dir/etcd"
fi

if [ ! -x "$dir/kube-apiserver" ]; then
  command -v go >/dev/null 2>&1 || die "no Go on PATH to build kube-apiserver $version with; install Go, or set KUBEBUILDER_ASSETS"
  work="$dir/.build"
  rm -rf "$work"
  mkdir -p "$work"
  cd "$work"
  export GOFLAGS="-mod=mod -buildvcs=false" GOWORK=off CGO_ENABLED=0
  minor="${version#v1.}"
  minor="${minor%%.*}"
  staging="v0.${version#v1.}"
  say "building kube-apiserver $version into $dir (once)"
  go mod init machinist.invalid/kube-apiserver >&2 9>&-
  # k8s.io/kubernetes names its staging modules v0.0.0 and replaces them by directories, which is void for whoever
  # requires it: each is replaced by its published version instead.
  mod="$(go mod download -json "k8s.io/kubernetes@$version" 9>&- | sed -n 's/^[[:space:]]*"GoMod": "\(.*\)",*$/\1/p')"
  [ -n "$mod" ] || die "the Go proxy has no k8s.io/kubernetes@$version"
  sed -n 's#^[[:space:]]*\(k8s\.io/[a-z0-9-]*\) => \./staging/src/.*#\1#p' "$mod" | while read -r name; do
    go mod edit -replace "$name=$name@$staging"
  done
  go mod edit -require "k8s.io/kubernetes@$version"
  go get "k8s.io/kubernetes/cmd/kube-apiserver@$version" >&2 9>&-
  x=k8s.io/component-base/version
  go build -trimpath -ldflags "-s -w -X $x.gitVersion=$version -X $x.gitMajor=1 -X $x.gitMinor=$minor -X $x.gitTreeState=clean" \
    -o "$work/kube-apiserver" k8s.io/kubernetes/cmd/kube-apiserver >&2 9>&-
  mv "$work/kube-apiserver" "$dir/kube-apiserver"
  cd "$dir"
  rm -rf "$work"
fi

echo "$dir"
