#!/bin/sh
# Installs what the tests need from Debian's packages, or says in one line what
# is missing and fails.
set -eu
die() { echo "need: $*" >&2; exit 1; }

command -v go >/dev/null || die "Go 1.26 or later is missing (https://go.dev/dl)"
go list -m >/dev/null || die "this Go is older than go.mod asks for"
command -v node >/dev/null && command -v npm >/dev/null || die "Node.js 20 or later with npm is missing"
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || die "Node.js 20 or later is needed, this is $(node --version)"

missing=
command -v gcc >/dev/null || missing="$missing gcc libc6-dev" # the race detector links with it
command -v chromium >/dev/null || missing="$missing chromium"
command -v ssh-keygen >/dev/null || missing="$missing openssh-client" # makes keys for cmd/blobctl's scripts
command -v strace >/dev/null || missing="$missing strace" # shows what is synced, for ci/durable.sh
command -v redis-server >/dev/null || missing="$missing redis-server" # the store's tests; also with redis-cli
command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
[ -z "$missing" ] || "$(dirname "$0")/install.sh" need $missing
