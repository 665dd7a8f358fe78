#!/bin/sh
# Gets the published Bayeux peers: npm's packages into test/peers/node, CometD's jars
# into .cache/peers/lib. Installs a JDK and Maven from Debian's packages if they are
# missing, or says what is missing and fails. More packages to install may be named.
set -eu
cd "$(dirname "$0")/.."
die() { echo "published: $*" >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT

command -v node >/dev/null && command -v npm >/dev/null || die "Node.js 20 or later with npm is missing"
missing=
command -v javac >/dev/null || missing="$missing openjdk-17-jdk-headless"
for name in mvn "$@"; do
  command -v "$name" >/dev/null || missing="$missing $(echo "$name" | sed 's/^mvn$/maven/')"
done
[ -z "$missing" ] || ci/install.sh published $missing

(cd test/peers/node && npm ci --prefer-offline --loglevel=error) >"$log" 2>&1 ||
  { tail -5 "$log" >&2; die "could not install npm's packages"; }

# The jars are got anew when their list changes.
cache=.cache/peers
want=$(sha256sum <test/peers/java/pom.xml)
if [ "$(cat "$cache/lib-for" 2>/dev/null)" != "$want" ]; then
  rm -rf "$cache/lib"
  mkdir -p "$cache"
  mvn -q -B -f test/peers/java/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$PWD/$cache/lib" >"$log" 2>&1 || { tail -5 "$log" >&2; die "could not get CometD's jars"; }
  echo "$want" >"$cache/lib-for"
fi
