#!/bin/sh
# That a keyring's changes are on the disk before they count: strace shows in
# which order blobctl writes a file, syncs it, gives it its name and syncs the
# folder. No other test sees a missing fsync.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
die() { echo "durable: $*" >&2; exit 1; }
command -v strace >/dev/null || die "strace is missing (make need)"
go build -o "$work/blobctl" ./cmd/blobctl

# durable COMMAND FILE...: the steps for each of these files, in this order.
durable() {
  command=$1
  shift
  strace -f -y -qq -e signal=none -e trace=write,fsync,rename,renameat,renameat2 -o "$work/trace" \
    "$work/blobctl" keyring "$command" --dir "$work/keys" >"$work/out" 2>&1 || { cat "$work/out" >&2; die "$command failed"; }
  # One line a step: its name, and the file without folder and random end.
  sed -nE -e 's|.* write\([0-9]+<[^>]*/keys/(\.[a-z.]+\.new)-[0-9]+>.*|write \1|p' \
    -e 's|.* fsync\([0-9]+<[^>]*/keys/(\.[a-z.]+\.new)-[0-9]+>.*|fsync \1|p' \
    -e 's|.* fsync\([0-9]+<[^>]*/keys>.*|fsync folder|p' \
    -e 's|.* rename[a-z0-9]*\(.*/keys/(\.[a-z.]+\.new)-[0-9]+".*/keys/([a-z.]+)".*|rename \1 \2|p' "$work/trace" >"$work/steps"
  for file; do
    printf 'write .%s.new\nfsync .%s.new\nrename .%s.new %s\nfsync folder\n' "$file" "$file" "$file" "$file"
  done >"$work/want"
  diff "$work/want" "$work/steps" >&2 || die "$command: other steps than these are not durable"
  echo "durable: $command: $*"
}

durable init identity.txt signer.key signer.pub ring.age
durable rotate ring.age ring.seen
