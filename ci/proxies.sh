#!/bin/sh
# Our server behind nginx and HAProxy: test/proxies. Installs both from Debian's packages,
# and CometD's client with npm, or says what is missing and fails. ONLY=regexp runs some.
set -eu
cd "$(dirname "$0")/.."
die() { echo "proxies: $*" >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
PATH=$PATH:/usr/sbin # where Debian has them, and not all users look

command -v go >/dev/null || die "Go is missing (https://go.dev/dl)"
command -v node >/dev/null && command -v npm >/dev/null || die "Node.js 20 or later with npm is missing"
missing=
for name in nginx haproxy; do
  command -v "$name" >/dev/null || missing="$missing $name"
done
[ -z "$missing" ] || ci/install.sh proxies $missing
(cd test/peers/node && npm ci --prefer-offline --loglevel=error) >"$log" 2>&1 ||
  { tail -5 "$log" >&2; die "could not install npm's packages"; }

mkdir -p .cache
go build -o .cache/proxies ./test/proxies
timeout 300 .cache/proxies -only "${ONLY:-}"
