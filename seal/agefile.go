package seal

import (
	"bytes"
	"crypto/fips140"
	"fmt"
	"io"

	"filippo.io/age"
)

// What age does is in this file, recipient.go and identity.go. Its algorithms
// are not those of FIPS 140: under GODEBUG=fips140=only they run outside the
// enforcement, so that the ring's encryption at rest, and it alone, is not
// approved. Where that is not acceptable, let a key service decrypt the ring and
// give [ParseRing] the plaintext.
func outsideFIPS(f func() error) (err error) {
	fips140.WithoutEnforcement(func() { err = f() })
	return err
}

// encryptTo writes plain, encrypted to recipients; phrase is asked for where
// they are the passphrase.
func encryptTo(w io.Writer, recipients []string, phrase string, plain []byte) error {
	return outsideFIPS(func() error {
		to, err := ageRecipients(recipients, phrase)
		if err != nil {
			return err
		}
		out, err := age.Encrypt(w, to...)
		if err != nil {
			return err
		}
		if _, err := out.Write(plain); err != nil {
			return err
		}
		return out.Close()
	})
}

// decrypt returns at most limit bytes of plaintext.
func (ids *identities) decrypt(file []byte, limit int64) (plain []byte, err error) {
	err = outsideFIPS(func() error {
		in, err := age.Decrypt(bytes.NewReader(file), ids.keys...)
		if err != nil {
			return fmt.Errorf("%w: not encrypted to this identity, or damaged", ErrRing)
		}
		read, err := io.ReadAll(io.LimitReader(in, limit))
		if err != nil {
			return fmt.Errorf("%w: damaged", ErrRing) // nothing of what was read before the damage
		}
		plain = read
		return nil
	})
	return plain, err
}
