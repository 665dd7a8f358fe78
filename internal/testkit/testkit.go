// Package testkit holds what the tests of several packages share.
package testkit

import (
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
)

// ShopPolicy has one attribute of each kind, and short clocks' leeway.
const ShopPolicy = `{"version":1,"session":{"idle":"30m","absolute":"12h","leeway":"1s"},"attributes":{
	"cart":{"ttl":"1h"},"login":{"ttl":"1m"},"pin":{"ttl":"1m","on_expiry":"refuse"},"ticket":{"ttl":"10m","once":true},"note":{"idle":"10m","max_bytes":64}}}`

// Ring makes a keyring with one primary key.
func Ring(tb testing.TB) *seal.Ring {
	tb.Helper()
	ring, err := seal.InitRing(tb.TempDir(), seal.A256GCM, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

// Policy parses a policy file's text.
func Policy(tb testing.TB, text string) *policy.Policy {
	tb.Helper()
	p, err := policy.Parse([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}
