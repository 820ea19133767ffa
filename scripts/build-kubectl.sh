#!/bin/sh
# Owns getting a current kubectl for the live tests, and prints its path. Does not own which tests use it.
#
#   scripts/build-kubectl.sh [--check]
#
# Built once from the Go module k8s.io/kubectl into ${MACHINIST_CACHE:-$HOME/.cache/machinist}/kubectl-<version>/ (about 2
# minutes on 2 cores). --check builds nothing: exit code 1 says that something would have to be.
# Idempotent; parallel callers wait for each other (flock). Progress goes to stderr, the one line on stdout is the path.
set -eu

version="${MACHINIST_KUBECTL_VERSION:-v0.37.2}"
dir="${MACHINIST_CACHE:-$HOME/.cache/machinist}/kubectl-$version"

say() { echo "build-kubectl: $*" >&2; }
die() { say "$*"; exit 1; }

if [ -x "$dir/kubectl" ]; then
  echo "$dir/kubectl"
  exit 0
fi
if [ "${1:-}" = "--check" ]; then exit 1; fi
command -v go >/dev/null 2>&1 || die "no Go on PATH to build kubectl $version with"

mkdir -p "$dir"
exec 9>"$dir/.lock"
if command -v flock >/dev/null 2>&1; then flock 9; fi

if [ ! -x "$dir/kubectl" ]; then
  work="$dir/.build"
  rm -rf "$work"
  mkdir -p "$work"
  cd "$work"
  export GOFLAGS="-mod=mod -buildvcs=false" GOWORK=off CGO_ENABLED=0
  say "building kubectl $version into $dir (once)"
  # What k8s.io/kubernetes/cmd/kubectl does, without the rest of Kubernetes.
  cat >main.go <<'GO'
package main

import (
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
GO
  go mod init machinist.invalid/kubectl >&2 9>&-
  go get "k8s.io/kubectl@$version" "k8s.io/component-base@$version" >&2 9>&-
  go mod tidy >&2 9>&-
  x=k8s.io/component-base/version
  minor="${version#v0.}"
  go build -trimpath -ldflags "-s -w -X $x.gitVersion=v1.$minor -X $x.gitMajor=1 -X $x.gitMinor=${minor%%.*}" \
    -o "$work/kubectl" . >&2 9>&-
  mv "$work/kubectl" "$dir/kubectl"
  cd "$dir"
  rm -rf "$work"
fi

echo "$dir/kubectl"
