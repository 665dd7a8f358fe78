#!/bin/sh
# The browser's side: type check and tests in Node.
set -eu
cd "$(dirname "$0")/../client"
npm ci --no-audit --no-fund --loglevel=error
npm run --silent check
npm test --silent
