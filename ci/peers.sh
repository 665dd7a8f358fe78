#!/bin/sh
# Published Bayeux clients against our server, and our client against published
# servers: test/peers/README.md. Installs what it needs from Debian's packages, npm
# and Maven, or says what is missing and fails. ONLY=regexp runs some of them.
set -eu
cd "$(dirname "$0")/.."
die() { echo "peers: $*" >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT

command -v go >/dev/null || die "Go is missing (https://go.dev/dl)"
command -v node >/dev/null && command -v npm >/dev/null || die "Node.js 20 or later with npm is missing"
missing=
command -v javac >/dev/null || missing="$missing openjdk-17-jdk-headless"
command -v mvn >/dev/null || missing="$missing maven"
command -v chromium >/dev/null || missing="$missing chromium"
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null || die "missing, and no apt-get to install:$missing"
  sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  echo "peers: installing$missing"
  $sudo apt-get update >"$log" 2>&1 && $sudo apt-get install -y --no-install-recommends $missing >>"$log" 2>&1 ||
    { tail -5 "$log" >&2; die "could not install$missing"; }
fi

(cd test/peers/node && npm ci --prefer-offline --loglevel=error) >"$log" 2>&1 ||
  { tail -5 "$log" >&2; die "could not install npm's packages"; }
(cd test/peers/node && npm run --silent check)

# The jars and classes live in a folder that is ignored by git, and are made anew
# when their list, the sources or Java change.
cache=.cache/peers
want="$(javac -version 2>&1) $(cat test/peers/java/* | sha256sum)"
if [ "$(cat "$cache/made-for" 2>/dev/null)" != "$want" ]; then
  rm -rf "$cache"
  mkdir -p "$cache/classes"
  mvn -q -B -f test/peers/java/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$PWD/$cache/lib" >"$log" 2>&1 || { tail -5 "$log" >&2; die "could not get CometD's jars"; }
  javac -Xlint:all -Werror -cp "$cache/lib/*" -d "$cache/classes" test/peers/java/*.java
  echo "$want" >"$cache/made-for"
fi
go build -o "$cache/peers" ./test/peers
timeout 300 "$cache/peers" run -only "${ONLY:-}" "$cache"
