#!/bin/sh
# The fuzz targets, and beside them what mostly waits for servers and browsers.
set -eu
log=$(mktemp)
nice ci/fuzz.sh >"$log" 2>&1 &
fuzz=$!
trap 'rm -f "$log"' EXIT
code=0
for name in client interop peers proxies browser demo; do
  echo "ci/$name.sh"
  "ci/$name.sh" || { code=1; break; }
done
wait "$fuzz" || code=1
cat "$log"
exit $code
