#!/bin/sh
# start|stop|status: a Redis and a PostgreSQL on loopback ports of the project's
# own, for hand tests and for tests that shall not start their own. They keep
# their data, and sync each write, in a folder of the temporary ones until stop.
# SEALEDBLOB_REDIS_PORT and SEALEDBLOB_POSTGRES_PORT choose other ports.
set -eu
die() { echo "services: $*" >&2; exit 1; }

redis_port=${SEALEDBLOB_REDIS_PORT:-16379}
postgres_port=${SEALEDBLOB_POSTGRES_PORT:-15432}
folder=${TMPDIR:-/tmp}/sealedblob-services-$(id -u)
data=$folder/postgres/data
bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort -V | tail -1)")
[ "$bin" != . ] || bin=$(dirname "$(command -v postgres)")

# PostgreSQL refuses to be root.
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; else "$@"; fi; }
redis() { redis-cli -h 127.0.0.1 -p "$redis_port" "$@"; }
redis_pid() { cat "$folder/redis/pid" 2>/dev/null; }
redis_runs() { [ "$(redis config get dir 2>/dev/null | tail -1)" = "$folder/redis" ]; }
postgres_runs() { (cd / && as "$bin/pg_ctl" status -D "$data") >/dev/null 2>&1; }

environment() {
  echo "export SEALEDBLOB_TEST_REDIS=127.0.0.1:$redis_port"
  echo "export SEALEDBLOB_TEST_POSTGRES='postgres://postgres:$(cat "$folder/password")@127.0.0.1:$postgres_port/postgres?sslmode=disable'"
}

start() {
  command -v redis-server >/dev/null && [ -x "$bin/postgres" ] || die "Redis or PostgreSQL is missing; make need installs them"
  redis_runs || ! kill -0 "$(redis_pid)" 2>/dev/null || die "Redis runs on another port; stop it first"
  if ! redis_runs && ! postgres_runs; then
    rm -rf "$folder"
    # Others may pass through, as postgres must, and read nothing.
    mkdir "$folder" "$folder/redis" "$folder/postgres" # not -p: it must not be anybody else's
    chmod 711 "$folder" && chmod 700 "$folder/redis"
    (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$folder/password")
    [ "$(id -u)" != 0 ] || chown postgres "$folder/postgres"
    (cd / && as sh -c 'umask 077 && cat >"$1"' - "$folder/postgres/password") <"$folder/password"
    (cd / && as "$bin/initdb" --username=postgres --pwfile="$folder/postgres/password" --auth=scram-sha-256 \
      --encoding=UTF8 --locale=C -D "$data") >"$folder/initdb.log" 2>&1 || { cat "$folder/initdb.log" >&2; die "initdb failed"; }
  fi
  redis_runs || redis-server --bind 127.0.0.1 --port "$redis_port" --dir "$folder/redis" --logfile "$folder/redis/log" --pidfile "$folder/redis/pid" \
    --daemonize yes --save "" --appendonly yes --appendfsync always --maxmemory-policy noeviction >/dev/null
  postgres_runs || (cd / && as "$bin/pg_ctl" start -w -D "$data" -l "$folder/postgres/log" \
    -o "-h 127.0.0.1 -p $postgres_port -k ''") >/dev/null || { tail -3 "$folder/postgres/log" >&2; die "PostgreSQL does not start"; }
  for _ in 1 2 3 4 5 6 7 8 9 10; do ! redis_runs || break; sleep 0.3; done
  redis_runs || { tail -3 "$folder/redis/log" >&2; die "Redis does not start"; }
  echo "# Both serve on loopback. For tests that use them: eval \"\$(ci/services.sh start)\""
  environment
}

stop() {
  pid=$(redis_pid || true) # by its number, whatever its port
  [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
  while [ -e "$folder/redis/pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  ! postgres_runs || (cd / && as "$bin/pg_ctl" stop -m fast -D "$data") >/dev/null
  ! redis_runs && ! postgres_runs || die "still running"
  rm -rf "$folder"
}

status() {
  redis_runs && echo "# Redis serves at 127.0.0.1:$redis_port" || echo "# Redis does not run"
  postgres_runs && echo "# PostgreSQL serves at 127.0.0.1:$postgres_port" || echo "# PostgreSQL does not run"
  redis_runs && postgres_runs && environment
}

case ${1:-} in
start | stop | status) "$1" ;;
*) die "usage: ci/services.sh start|stop|status" ;;
esac
