#!/bin/sh
# Runs each fuzz target of the packages PKG (default ./...) for T (default 10s), two
# targets at a time with a worker each. The targets through the public API, FuzzOpen
# among them, are in ./fuzz.
# Every target that stands in a test file must be found and must run, so that
# neither a package that does not build nor a build tag can hide one; and of all
# packages together there are not fewer than there were.
set -eu
least=23
packages=${PKG:-./...}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log
die() { echo "fuzz: $*" >&2; exit 1; }

# Before Go 1.27 a run that ends with its time may be called a failure
# (go.dev/issue/75804). Such a log has this one complaint and no failing input.
only_late() {
  [ "$(grep -c '^    ' "$log")" = 1 ] && grep -qx '    context deadline exceeded' "$log" &&
    ! grep -qE 'ailing input|panic|hung or terminated' "$log"
}

# run PACKAGE TARGET TIME
run() {
  go test -run '^$' -fuzz "^$2\$" -fuzztime "$3" -fuzzminimizetime 20x -parallel 1 "$1" >"$log" 2>&1 || only_late ||
    { cat "$log" >&2; die "$2 failed"; }
  execs=$(grep -o 'execs: [0-9]*' "$log" | tail -1)
}

# one PACKAGE TARGET: for itself. On a busy machine its seeds alone may take all the time.
if [ "${1:-}" = one ]; then
  run "$2" "$3" "${T:-10s}"
  [ -n "$execs" ] || run "$2" "$3" 60s
  [ -n "$execs" ] || die "$3 ran nothing"
  echo "fuzz: $3 (${2##*/}) $execs"
  exit
fi

dirs=$(go list -f '{{.Dir}}' $packages)
written=$(for dir in $dirs; do grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null || true; done | wc -l)
for package in $(go list $packages); do
  go test -list '^Fuzz' "$package" >"$log" 2>&1 || { cat "$log" >&2; die "$package does not build"; }
  for target in $(grep '^Fuzz' "$log" || true); do echo "one $package $target"; done >>"$work/targets"
done
[ -s "$work/targets" ] || die "no targets in $packages"
code=0
xargs -n 3 -P 2 "$0" <"$work/targets" >"$work/out" || code=$?
cat "$work/out"
[ "$code" -eq 0 ] || die "a target failed"
count=$(wc -l <"$work/out")
echo "fuzz: $count targets"
[ "$count" -gt 0 ] && [ "$count" -eq "$written" ] || die "$count targets ran, $written are written"
[ -n "${PKG:-}" ] || [ "$count" -ge "$least" ] || die "there were $least targets"
