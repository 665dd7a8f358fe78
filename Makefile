# The same commands locally and in CI; each target is a script in ci/.
# make model DEEP=1: larger bounds, some twenty minutes and 5 GB.
# make postgres-versions V='13 18': only these.
# make fuzz T=10m PKG='./seal ./fuzz': how long each target runs, and of which packages.
.PHONY: test need lint go durable adapters model programs drain keyservice rest fuzz client interop peers proxies browser demo headless bench services soak postgres-versions

# make model, make drain and make soak are the larger forms of tests that are among "go".
# rest is fuzz, client, interop, peers, proxies, browser and headless.
test: need lint go programs durable adapters keyservice rest ## everything

need:     ; ci/need.sh
lint:     ; ci/lint.sh
go:       ; ci/go.sh
durable:  ; ci/durable.sh
adapters: ; ci/adapters.sh
model:    ; DEEP=$(DEEP) ci/model.sh
programs: ; ci/programs.sh
drain:    ; ci/drain.sh
soak:     ; ci/soak.sh
keyservice: ; ci/keyservice.sh
rest:     ; ci/rest.sh
fuzz:     ; ci/fuzz.sh
client:   ; ci/client.sh
interop:  ; ci/interop.sh
peers:    ; ci/peers.sh
proxies:  ; ci/proxies.sh
browser:  ; ci/browser.sh
headless: ; ci/demo.sh
demo:     ; go run ./cmd/blobctl demo
bench:    ; ci/bench.sh
services: ; ci/services.sh start
postgres-versions: ; ci/postgres_versions.sh $(V)
