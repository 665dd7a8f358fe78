#!/bin/sh
# Ours and the libraries that people would use instead, side by side: first that
# each does its work, then what it costs. ONLY=seal (sealing, opening and
# restoring), ONLY=open or ONLY=restore; everything if empty. The results go to
# bench/results.json. See docs/performance.md.
set -eu
cd "$(dirname "$0")/../bench"
go vet ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
log=$(mktemp)
go test ./... >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
rm -f "$log"
go run . -only "${ONLY:-}"
