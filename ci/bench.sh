#!/bin/sh
# Ours and the libraries that people would use instead, side by side: first that
# each does its work, then what it costs. ONLY=seal (sealing, opening and
# restoring), ONLY=open, ONLY=restore, ONLY=stateless (whole requests) or
# ONLY=replay (claims of rights); all of these if empty. ONLY=size weighs a store's
# records, ONLY=fanout compares Bayeux servers, ONLY=websockets libraries. The results
# go to bench/results.json. See docs/performance.md. It installs what is missing of Redis,
# PostgreSQL and strace from Debian's packages; for fanout a JDK, Maven and the published
# servers instead.
set -eu
if [ "${ONLY:-}" = fanout ]; then
  "$(dirname "$0")/published.sh"
  cd "$(dirname "$0")/../bench"
  go vet ./...
  mkdir -p ../.cache/bench
  javac -Xlint:all -Werror -cp "../.cache/peers/lib/*" -d ../.cache/bench fanout/*.java
  go test -run Fan ./...
  exec go run . -only fanout -rounds 5
fi
if [ "${ONLY:-}" = websockets ]; then
  cd "$(dirname "$0")/../bench"
  go vet ./...
  go test -run Socket ./...
  exec go run . -only websockets
fi
missing=
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
command -v strace >/dev/null || missing="$missing strace" # shows that each durable store syncs
[ -z "$missing" ] || "$(dirname "$0")/install.sh" bench $missing
cd "$(dirname "$0")/../bench"
go vet ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
log=$(mktemp)
go test ./... >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
rm -f "$log"
go run . -only "${ONLY:-}"
