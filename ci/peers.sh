#!/bin/sh
# Published Bayeux clients against our server, and our client against published
# servers: test/peers/README.md. Installs what it needs from Debian's packages, npm
# and Maven, or says what is missing and fails. ONLY=regexp runs some of them.
set -eu
cd "$(dirname "$0")/.."
die() { echo "peers: $*" >&2; exit 1; }

command -v go >/dev/null || die "Go is missing (https://go.dev/dl)"
ci/published.sh chromium
(cd test/peers/node && npm run --silent check)

# The classes are made anew when the jars, the sources or Java change.
cache=.cache/peers
want="$(javac -version 2>&1) $(cat test/peers/java/* | sha256sum)"
if [ "$(cat "$cache/made-for" 2>/dev/null)" != "$want" ]; then
  rm -rf "$cache/classes"
  mkdir -p "$cache/classes"
  javac -Xlint:all -Werror -cp "$cache/lib/*" -d "$cache/classes" test/peers/java/*.java
  echo "$want" >"$cache/made-for"
fi
go build -o "$cache/peers" ./test/peers
timeout 300 "$cache/peers" run -only "${ONLY:-}" "$cache"
