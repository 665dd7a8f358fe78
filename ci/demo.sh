#!/bin/sh
# The whole story against real processes; every promise must have its PASS line.
set -eu
out=$(go run ./cmd/blobctl demo --headless) || { echo "$out"; exit 1; }
echo "$out"
for promise in "session restored on another node after kill -9" "page reload keeps the session" \
  "expired login dropped while the cart goes on" "ticket bought once" "captured ticket refused on another node" \
  "flipped bit refused" "two generations mixed refused" "an attribute left out refused" \
  "blobs of another session refused" "logged-out set refused"; do
  echo "$out" | grep -q "^PASS  $promise  \[node-" || { echo "demo: no PASS for: $promise" >&2; exit 1; }
done
