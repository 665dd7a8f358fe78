package session_test

import (
	"testing"

	"github.com/sealedblob/sealedblob/session"
)

// A version has one spelling: two numbers below 2^64 without leading zeros.
func TestParseVersion(t *testing.T) {
	for text, want := range map[string]session.Version{
		"0.0": {}, "1.20": {Fence: 1, Gen: 20}, "18446744073709551615.18446744073709551615": {Fence: 1<<64 - 1, Gen: 1<<64 - 1},
	} {
		if got, ok := session.ParseVersion(text); !ok || got != want || session.FormatVersion(got) != text {
			t.Errorf("ParseVersion(%q) = %v, %t", text, got, ok)
		}
	}
	for _, text := range []string{
		"", ".", "1", "1.", ".1", "1.2.3", "01.2", "1.02", "00.0", "+1.2", "-1.2", "1.+2", " 1.2", "1.2 ", "1.2\n", "1,2", "0x1.2", "1e1.0", "1_0.1",
		"18446744073709551616.0", "0.18446744073709551616", "1.000000000000000000000000000000000000000000001",
	} {
		if got, ok := session.ParseVersion(text); ok || got != (session.Version{}) {
			t.Errorf("ParseVersion(%q) = %v, %t", text, got, ok)
		}
	}
}
