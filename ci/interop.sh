#!/bin/sh
# Second implementations: an independent opener passes the vectors; three JOSE
# tools open what blobctl seals, and the other way round; policy files please
# loader and JSON Schema alike. Installs what it needs from Debian's packages,
# PyPI and npm, or says what is missing and fails.
set -eu
cd "$(dirname "$0")/.."
die() { echo "interop: $*" >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT

command -v go >/dev/null || die "Go is missing (https://go.dev/dl)"
command -v node >/dev/null && command -v npm >/dev/null || die "Node.js 20 or later with npm is missing"

missing=
command -v jose >/dev/null || missing="$missing jose"
command -v python3 >/dev/null || missing="$missing python3"
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
[ -z "$missing" ] || ci/install.sh interop $missing
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or later is needed, this is $(python3 --version)"

# The Python packages live in a folder that is ignored by git, and are made anew
# when their list or Python changes.
cache=.cache/interop
mkdir -p "$cache"
want="$(python3 --version) $(cat interop/python/requirements.txt)"
if [ "$(cat "$cache/venv/made-for" 2>/dev/null)" != "$want" ]; then
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv" >"$log" 2>&1 &&
    "$cache/venv/bin/python" -m pip install -q --disable-pip-version-check --only-binary :all: --no-deps \
      -r interop/python/requirements.txt >"$log" 2>&1 ||
    { tail -5 "$log" >&2; die "could not install the Python packages"; }
  echo "$want" >"$cache/venv/made-for"
fi
(cd interop/node && npm ci --prefer-offline --loglevel=error) >"$log" 2>&1 ||
  { tail -5 "$log" >&2; die "could not install npm's packages"; }
go build -o "$cache/blobctl" ./cmd/blobctl

export PYTHONDONTWRITEBYTECODE=1
code=0
"$cache/venv/bin/python" interop/python/opener.py vectors docs/SPEC.md || code=1
timeout 300 "$cache/venv/bin/python" interop/interop.py "$cache/blobctl" vectors || code=1
node interop/node/schema.js policy || code=1
exit $code
