package seal

import (
	"bytes"
	"crypto/fips140"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// Everything that age does is in this file. Its algorithms are not those of
// FIPS 140: under GODEBUG=fips140=only they run outside the enforcement, so
// that the ring's encryption at rest, and it alone, is not approved. Where that
// is not acceptable, implement [Source] with a key service.
func outsideFIPS(f func() error) (err error) {
	fips140.WithoutEnforcement(func() { err = f() })
	return err
}

// newIdentity makes a fresh age identity and its recipient, as text.
func newIdentity() (identity, recipient string, err error) {
	err = outsideFIPS(func() error {
		id, err := age.GenerateX25519Identity()
		if err == nil {
			identity, recipient = id.String(), id.Recipient().String()
		}
		return err
	})
	return identity, recipient, err
}

// encryptTo writes plain, encrypted to recipients. It accepts native
// recipients only: a plugin would run a program named by a text (CVE-2024-56327).
func encryptTo(w io.Writer, recipients []string, plain []byte) error {
	return outsideFIPS(func() error {
		var to []age.Recipient
		for _, text := range recipients {
			r, err := age.ParseX25519Recipient(text)
			if err != nil {
				return fmt.Errorf("%w: a recipient is not an age X25519 recipient", ErrRing)
			}
			to = append(to, r)
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

// identities reads an age identity file; plugin identities are refused.
type identities []age.Identity

func parseIdentities(file []byte) (out identities, err error) {
	err = outsideFIPS(func() error {
		for _, line := range strings.Split(string(file), "\n") {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			id, err := age.ParseX25519Identity(line)
			if err != nil {
				return fmt.Errorf("%w: holds something other than age X25519 identities", ErrRing)
			}
			out = append(out, id)
		}
		if len(out) == 0 {
			return fmt.Errorf("%w: holds no identity", ErrRing)
		}
		return nil
	})
	return out, err
}

// decrypt returns at most limit bytes of plaintext.
func (ids identities) decrypt(file []byte, limit int64) (plain []byte, err error) {
	err = outsideFIPS(func() error {
		in, err := age.Decrypt(bytes.NewReader(file), ids...)
		if err != nil {
			return fmt.Errorf("%w: not encrypted to this identity, or damaged", ErrRing)
		}
		if plain, err = io.ReadAll(io.LimitReader(in, limit)); err != nil {
			return fmt.Errorf("%w: damaged", ErrRing)
		}
		return nil
	})
	return plain, err
}
