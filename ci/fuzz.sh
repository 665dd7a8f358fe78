#!/bin/sh
# Runs each fuzz target of the packages PKG (default ./...) for T (default 10s). The
# targets through the public API, FuzzOpen among them, are in ./fuzz.
# Every target that stands in a test file must be found and must run, so that
# neither a package that does not build nor a build tag can hide one; and of all
# packages together there are not fewer than there were.
set -eu
least=22
packages=${PKG:-./...}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
die() { echo "fuzz: $*" >&2; exit 1; }

# Before Go 1.27 a run that ends with its time may be called a failure
# (go.dev/issue/75804). Such a log has this one complaint and no failing input.
only_late() {
  [ "$(grep -c '^    ' "$log")" = 1 ] && grep -qx '    context deadline exceeded' "$log" &&
    ! grep -qE 'ailing input|panic|hung or terminated' "$log"
}

dirs=$(go list -f '{{.Dir}}' $packages)
written=$(for dir in $dirs; do grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null || true; done | wc -l)
count=0
for package in $(go list $packages); do
  go test -list '^Fuzz' "$package" >"$log" 2>&1 || { cat "$log" >&2; die "$package does not build"; }
  for target in $(grep '^Fuzz' "$log" || true); do
    go test -run '^$' -fuzz "^$target\$" -fuzztime "${T:-10s}" -fuzzminimizetime 20x "$package" >"$log" 2>&1 || only_late ||
      { cat "$log" >&2; die "$target failed"; }
    execs=$(grep -o 'execs: [0-9]*' "$log" | tail -1)
    [ -n "$execs" ] || die "$target ran nothing"
    echo "fuzz: $target (${package##*/}) $execs"
    count=$((count + 1))
  done
done
echo "fuzz: $count targets"
[ "$count" -gt 0 ] && [ "$count" -eq "$written" ] || die "$count targets were found, $written are written"
[ -n "${PKG:-}" ] || [ "$count" -ge "$least" ] || die "there were $least targets"
