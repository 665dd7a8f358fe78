#!/bin/sh
# A deploy loses no session: 1,000 sessions that change all the time, two nodes, 20
# rolling restarts. (With the race detector and smaller numbers it is one of ci/go.sh's.)
set -eu
log=$(mktemp)
trap 'rm -f "$log"' EXIT
go test -count=1 -timeout 5m -v -run '^TestDrainUnderLoad$' ./bayeux/sessionext \
  -drain.sessions 1000 -drain.restarts 20 -drain.pause 800ms >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
sed -n 's/^ *drain_test.go:[0-9]*: /drain: /p' "$log"
grep -q '1000 sessions, 20 restarts' "$log" || { echo "drain: nothing ran" >&2; exit 1; }
