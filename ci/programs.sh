#!/bin/sh
# 10,000 random programs over three nodes, and 10,000 steps of a browser and a thief
# between three living ones, against an oracle. (With the race detector, and fewer,
# they are among ci/go.sh's.) A program that fails is shortened and printed.
set -eu
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
go test -count=1 -timeout 5m -v -run '^(TestPrograms|TestPingPong)$' ./session \
  -rapid.checks 10000 -rapid.steps 40 -rapid.nofailfile >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
sed -nE 's/^ *[a-z_]*\.go:[0-9]*: (\[rapid\] OK, passed|map\[)/programs: \1/p' "$log"
grep -q 'OK, passed 10000 tests' "$log" && grep -q -- '--- PASS: TestPingPong' "$log" || { echo "programs: too few ran" >&2; exit 1; }
