#!/bin/sh
# Ours and the libraries that people would use instead, side by side: first that
# each does its work, then what it costs. ONLY=seal (sealing, opening and
# restoring), ONLY=open, ONLY=restore, ONLY=stateless (whole requests) or
# ONLY=replay (claims of rights); all of these if empty. ONLY=size weighs a store's
# records, ONLY=fanout compares Bayeux servers. The results go to bench/results.json. See
# docs/performance.md. It installs what is missing of Redis, PostgreSQL and strace from
# Debian's packages; for fanout a JDK, Maven and the published servers instead.
set -eu
if [ "${ONLY:-}" = fanout ]; then
  "$(dirname "$0")/published.sh"
  cd "$(dirname "$0")/../bench"
  go vet ./...
  mkdir -p ../.cache/bench
  javac -Xlint:all -Werror -cp "../.cache/peers/lib/*" -d ../.cache/bench fanout/*.java
  go test -run Fan ./...
  exec go run . -only fanout
fi
missing=
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
command -v strace >/dev/null || missing="$missing strace" # shows that each durable store syncs
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null || { echo "bench: missing, and no apt-get to install:$missing" >&2; exit 1; }
  sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  echo "bench: installing$missing"
  log=$(mktemp)
  $sudo apt-get update >"$log" 2>&1 && $sudo apt-get install -y --no-install-recommends $missing >>"$log" 2>&1 ||
    { tail -5 "$log" >&2; echo "bench: could not install$missing" >&2; exit 1; }
  rm -f "$log"
fi
cd "$(dirname "$0")/../bench"
go vet ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
log=$(mktemp)
go test ./... >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
rm -f "$log"
go run . -only "${ONLY:-}"
