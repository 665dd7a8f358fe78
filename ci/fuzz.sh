#!/bin/sh
# Runs each fuzz target for FUZZTIME (default 8s). Fails if there are none, so
# that a moved target can't turn this into a check of nothing.
set -eu
count=0
log=$(mktemp)
for package in $(go list ./...); do
  for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-8s}" "$package" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    execs=$(grep -o 'execs: [0-9]*' "$log" | tail -1)
    echo "fuzz: $target (${package##*/}) $execs"
    [ -n "$execs" ] || { echo "fuzz: $target ran nothing" >&2; exit 1; }
    count=$((count + 1))
  done
done
rm -f "$log"
echo "fuzz: $count targets"
[ "$count" -ge 4 ] || { echo "fuzz: too few targets" >&2; exit 1; }
