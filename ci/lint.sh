#!/bin/sh
# Format, vet, staticcheck, tidy modules, and known vulnerabilities.
set -eu
unformatted=$(gofmt -l $(git ls-files '*.go'))
[ -z "$unformatted" ] || { echo "lint: gofmt wants:" $unformatted >&2; exit 1; }
go mod tidy -diff
go vet ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

# The vulnerability database is on the network; without it, say so and go on.
log=$(mktemp)
if go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./... >"$log" 2>&1; then
  echo "lint: govulncheck: no known vulnerability is reached"
elif grep -qE 'fetching vulnerabilities|dial tcp|connection refused|no such host|proxyconnect|i/o timeout|403 Forbidden' "$log"; then
  echo "lint: govulncheck: NOT CHECKED, the vulnerability database can't be had here: $(grep -m1 -oE 'fetching vulnerabilities.*|dial tcp.*|.*403 Forbidden.*' "$log")"
else
  cat "$log" >&2
  exit 1
fi
rm -f "$log"
