#!/bin/sh
# The whole story against real processes; every promise must have its PASS line.
# Once with the store in a folder, and once each in Redis and PostgreSQL.
set -eu
folder=$(mktemp -d)
chmod 711 "$folder" # PostgreSQL's user passes through
program=$folder/blobctl
go build -o "$program" ./cmd/blobctl
# Beside those that somebody may have started by hand.
export TMPDIR="$folder" SEALEDBLOB_REDIS_PORT=26379 SEALEDBLOB_POSTGRES_PORT=25432
trap 'ci/services.sh stop; rm -rf "$folder"' EXIT
eval "$(ci/services.sh start)"
owner=${SEALEDBLOB_TEST_POSTGRES#postgres://postgres:} # password@host…
export PGPASSWORD="${owner%%@*}"
owner=postgres://postgres@${owner#*@}
"$program" replay migrate "$owner"

play() {
  out=$("$program" demo --headless "$@") || { echo "$out"; exit 1; }
  echo "$out"
  for promise in "session restored on another node after kill -9" "page reload keeps the session" \
    "expired login dropped while the cart goes on" "ticket bought once" "captured ticket refused on another node" \
    "flipped bit refused" "two generations mixed refused" "an attribute left out refused" \
    "blobs of another session refused" "logged-out set refused"; do
    echo "$out" | grep -q "^PASS  $promise  \[node-" || { echo "demo: no PASS for: $promise" >&2; exit 1; }
  done
}

play
play --replay "redis://$SEALEDBLOB_TEST_REDIS"
play --replay "$owner"
