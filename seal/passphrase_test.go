//go:build !race

package seal_test

import (
	"path/filepath"
	"testing"

	"github.com/sealedblob/sealedblob/seal"
)

// The work of a passphrase takes ten times as long under the race detector, so
// that these run without it: ci/go.sh tests this package a second time.

func TestPassphrase(t *testing.T) {
	testKind(t, "-> scrypt ", seal.WithPassphraseFile(private(t, []byte(phrase))))
}

// From keys to a passphrase and back the writer needs both.
func TestFromKeysToAPassphraseAndBack(t *testing.T) {
	dir := ringDir(t)
	passphrase := seal.WithPassphraseFile(private(t, []byte(phrase)))
	both := []seal.RingOption{seal.WithIdentityFile(filepath.Join(dir, seal.IdentityFile)), passphrase}
	own, err := seal.RingRecipients(dir)
	must(t, err)
	_, err = seal.SetRecipients(t.Context(), dir, []string{seal.PassphraseRecipient}, both...)
	must(t, err)
	_, err = seal.LoadRing(dir, passphrase)
	must(t, err)
	_, err = seal.SetRecipients(t.Context(), dir, own, both...)
	must(t, err)
	_, err = seal.LoadRing(dir)
	must(t, err)
}
