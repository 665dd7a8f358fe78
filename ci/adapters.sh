#!/bin/sh
# The nested modules: adapters for other libraries, and examples with them. Each
# is vetted, tidy, and tested with the race detector. gofmt: ci/lint.sh.
set -eu
cd "$(dirname "$0")/.."
least=5
count=0
for mod in adapters/*/go.mod examples/*/go.mod; do
  [ -e "$mod" ] || continue
  count=$((count + 1))
  (
    cd "$(dirname "$mod")"
    go mod tidy -diff
    go vet ./...
    go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
    go test -race -shuffle=on -timeout 2m ./...
  )
done
[ "$count" -ge "$least" ] || { echo "adapters: $count modules, there were $least" >&2; exit 1; }
