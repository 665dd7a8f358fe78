#!/bin/sh
# 10,000 idle clients, then a minute of others that come, publish, stall and vanish:
# memory stays flat, and all of it comes back. Some six minutes. (1,000 clients for
# some seconds, and servers that leak on purpose, are among ci/go.sh's.)
set -eu
bin=$(mktemp)
trap 'rm -f "$bin"' EXIT
go build -o "$bin" ./test/soak
"$bin" "$@"
