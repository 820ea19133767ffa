#!/bin/sh
# Owns getting Cluster API's own core manager, its CRDs and webhooks, and clusterctl for the live tests, and prints the
# directory they are in. Does not start them (test/live/capi does).
#
#   scripts/build-capi.sh [--check]
#
# Built once from the Go module sigs.k8s.io/cluster-api into ${MACHINIST_CACHE:-$HOME/.cache/machinist}/capi-<version>/:
#   manager, clusterctl    the two programs
#   config/                the module's kustomize directory: crd/bases, webhook/manifests.yaml
# --check builds nothing: exit code 1 says that something would have to be.
# Idempotent; parallel callers wait for each other (flock). Progress goes to stderr, the one line on stdout is the directory.
set -eu

version="${MACHINIST_CAPI_VERSION:-v1.13.6}"
dir="${MACHINIST_CACHE:-$HOME/.cache/machinist}/capi-$version"

say() { echo "build-capi: $*" >&2; }
die() { say "$*"; exit 1; }

# Each part is renamed into place when it is whole, so its being there means that it can be used.
ready() { [ -x "$dir/manager" ] && [ -x "$dir/clusterctl" ] && [ -d "$dir/config" ]; }

if ready; then
  echo "$dir"
  exit 0
fi
if [ "${1:-}" = "--check" ]; then
  command -v go >/dev/null 2>&1 || say "no Cluster API in $dir, and no Go to build it"
  exit 1
fi
command -v go >/dev/null 2>&1 || die "no Go on PATH to build Cluster API $version with"

mkdir -p "$dir"
exec 9>"$dir/.lock"
if command -v flock >/dev/null 2>&1; then flock 9; fi

if ! ready; then
  work="$dir/.build"
  rm -rf "$work"
  mkdir -p "$work"
  say "building Cluster API $version into $dir (once)"
  export GOWORK=off CGO_ENABLED=0 GOTOOLCHAIN=local
  module="$(cd "$work" && GOFLAGS= go mod download -json "sigs.k8s.io/cluster-api@$version" 9>&- | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')"
  [ -n "$module" ] || die "the Go proxy has no sigs.k8s.io/cluster-api@$version"
  minor="${version#v1.}"
  x=sigs.k8s.io/cluster-api/version
  # Within the module's own directory its go.mod and go.sum decide the versions: these are the released programs.
  build() {
    (cd "$module" && GOFLAGS="-mod=readonly -buildvcs=false" go build -trimpath \
      -ldflags "-s -w -X $x.gitVersion=$version -X $x.gitMajor=1 -X $x.gitMinor=${minor%%.*} -X $x.gitTreeState=clean" \
      -o "$work/$1" "$2" >&2 9>&-)
    mv "$work/$1" "$dir/$1"
  }
  if [ ! -d "$dir/config" ]; then
    cp -R "$module/config" "$work/config"
    chmod -R u+w "$work/config" # the module cache is read-only
    mv "$work/config" "$dir/config"
  fi
  [ -x "$dir/manager" ] || build manager sigs.k8s.io/cluster-api
  [ -x "$dir/clusterctl" ] || build clusterctl sigs.k8s.io/cluster-api/cmd/clusterctl
  rm -rf "$work"
fi

echo "$dir"
