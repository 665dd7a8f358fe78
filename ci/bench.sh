#!/bin/sh
# Ours and the libraries that people would use instead, side by side: first that
# each does its work, then what it costs. ONLY=seal (sealing, opening and
# restoring), ONLY=open, ONLY=restore or ONLY=stateless (whole requests); everything
# if empty. The results go to bench/results.json. See docs/performance.md. One peer
# needs Redis, which is installed from Debian's packages.
set -eu
if ! command -v redis-server >/dev/null; then
  command -v apt-get >/dev/null || { echo "bench: redis-server is missing, and no apt-get to install it" >&2; exit 1; }
  sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  echo "bench: installing redis-server"
  log=$(mktemp)
  $sudo apt-get update >"$log" 2>&1 && $sudo apt-get install -y --no-install-recommends redis-server >>"$log" 2>&1 ||
    { tail -5 "$log" >&2; echo "bench: could not install redis-server" >&2; exit 1; }
  rm -f "$log"
fi
cd "$(dirname "$0")/../bench"
go vet ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
log=$(mktemp)
go test ./... >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
rm -f "$log"
go run . -only "${ONLY:-}"
