#!/bin/sh
# All Go tests with the race detector, in random order, but the protocol's model,
# which runs on one thread; and seal once more where only the FIPS 140 module's
# approved algorithms are allowed: the strict profile.
set -eu
# A program with the race detector sleeps for a second before it ends, and the scripts
# of cmd/blobctl run hundreds. What its other goroutines report comes sooner.
export GORACE="atexit_sleep_ms=100${GORACE:+ $GORACE}"
go build ./...
go test -race -shuffle=on -p 3 -timeout 9m $(go list ./... | grep -v '/model$') # more than the cores: some mostly wait
# Once more with Config.ParkPolls, and with Config.RepeatPolls.
go test -race -shuffle=on ./bayeux -park &
parked=$!
go test -race -shuffle=on ./bayeux -repeat
wait "$parked"
go test ./model
GODEBUG=fips140=only go test ./seal/...
