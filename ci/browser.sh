#!/bin/sh
# The demonstration page, and a page with the real cometd package, in Chromium
# against real processes.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top/client" && npm ci --no-audit --no-fund --loglevel=error
cd "$top/test/browser" && npm ci --no-audit --no-fund --loglevel=error
npm run --silent check
npm test --silent
