#!/bin/sh
# Explores every state of the protocol within bounds that take less than a minute
# on two cores; DEEP=1: within larger ones. See docs/model.md.
set -eu
level=full
[ -z "${DEEP:-}" ] || level=deep
log=$(mktemp)
trap 'rm -f "$log"' EXIT
MODEL=$level go test -count=1 -timeout 3h -v ./model >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
grep -h 'states' "$log" | sed 's/^ *[a-z_]*\.go:[0-9]*: /model: /'
# 9 scenarios and one variant for each rule: less is a check of nothing.
[ "$(grep -c -- '--- PASS: TestProtocol/' "$log")" -ge 9 ] && [ "$(grep -c -- '--- PASS: TestRulesAreNeeded/' "$log")" -ge 24 ] ||
  { echo "model: too few explorations" >&2; exit 1; }
