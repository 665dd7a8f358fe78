# The same commands locally and in CI; each target is a script in ci/.
.PHONY: test need lint go fuzz client browser demo headless bench

test: need lint go fuzz client browser headless ## everything

need:     ; ci/need.sh
lint:     ; ci/lint.sh
go:       ; ci/go.sh
fuzz:     ; ci/fuzz.sh
client:   ; ci/client.sh
browser:  ; ci/browser.sh
headless: ; ci/demo.sh
demo:     ; go run ./cmd/blobctl demo
bench:    ; ci/bench.sh
