#!/bin/sh
# examples/clevis against a real Tang server on loopback. Installs clevis and
# tang from Debian's packages, or says what is missing and fails.
set -eu
cd "$(dirname "$0")/.."
die() { echo "keyservice: $*" >&2; exit 1; }

missing=
command -v clevis >/dev/null || missing="$missing clevis"
[ -x /usr/libexec/tangd ] || missing="$missing tang"
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null || die "missing, and no apt-get to install:$missing"
  sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  echo "keyservice: installing$missing"
  log=$(mktemp)
  $sudo apt-get update >"$log" 2>&1 && $sudo apt-get install -y --no-install-recommends $missing >>"$log" 2>&1 ||
    { tail -5 "$log" >&2; die "could not install$missing"; }
  rm -f "$log"
fi
go vet -tags keyservice ./examples/clevis
go test -tags keyservice -race -count=1 ./examples/clevis
