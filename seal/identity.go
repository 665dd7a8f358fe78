package seal

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"
)

const (
	maxIdentity   = 64 << 10 // bytes of an identity file
	minPassphrase = 12       // bytes
	maxPassphrase = 1 << 10
)

// identities are what opens a ring.
type identities struct {
	keys       []age.Identity
	recipients []string // who writes to keys, in their one spelling
	passphrase string   // empty: none
}

// newIdentity makes a fresh age identity, as text.
func newIdentity(postQuantum bool) (text string, err error) {
	err = outsideFIPS(func() error {
		if postQuantum {
			id, err := age.GenerateHybridIdentity()
			if err == nil {
				text = id.String()
			}
			return err
		}
		id, err := age.GenerateX25519Identity()
		if err == nil {
			text = id.String()
		}
		return err
	})
	return text, err
}

// addFile adds what an age identity file or an SSH private key holds. Plugin
// identities and SSH keys under a passphrase of their own are refused.
func (ids *identities) addFile(file []byte) error {
	return outsideFIPS(func() error {
		if len(file) > maxIdentity {
			return fmt.Errorf("%w: over %d bytes", ErrRing, maxIdentity)
		}
		if bytes.HasPrefix(bytes.TrimSpace(file), []byte("-----BEGIN ")) {
			return ids.addSSH(file)
		}
		before := len(ids.keys)
		for _, line := range strings.Split(string(file), "\n") {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			if err := ids.addLine(line); err != nil {
				return err
			}
		}
		if len(ids.keys) == before {
			return fmt.Errorf("%w: holds no identity", ErrRing)
		}
		return nil
	})
}

func (ids *identities) addLine(line string) error {
	if strings.HasPrefix(line, "AGE-SECRET-KEY-PQ-1") {
		if id, err := age.ParseHybridIdentity(line); err == nil {
			ids.add(id, id.Recipient().String())
			return nil
		}
	} else if id, err := age.ParseX25519Identity(line); err == nil {
		ids.add(id, id.Recipient().String())
		return nil
	}
	return fmt.Errorf("%w: holds something other than age X25519 or post-quantum identities", ErrRing)
}

func (ids *identities) addSSH(pem []byte) error {
	raw, err := ssh.ParseRawPrivateKey(pem)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		return fmt.Errorf("%w: is an SSH key under a passphrase of its own; use one without, or an age identity", ErrRing)
	}
	if err != nil {
		return fmt.Errorf("%w: is not an SSH private key", ErrRing)
	}
	signer, err := ssh.NewSignerFromKey(raw)
	if err != nil {
		return fmt.Errorf("%w: is an SSH key of a kind that is not supported", ErrRing)
	}
	r, err := sshRecipient(signer.PublicKey())
	if err != nil {
		return err
	}
	id, err := agessh.ParseIdentity(pem)
	if err != nil {
		return fmt.Errorf("%w: is not an SSH private key of ed25519 or rsa", ErrRing)
	}
	ids.add(id, r.text)
	return nil
}

// addPassphrase adds a passphrase: one line of UTF-8. Whoever has a copy of the
// ring may guess at it without limit, so that short ones are refused.
func (ids *identities) addPassphrase(text []byte) error {
	phrase := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if len(phrase) < minPassphrase || len(phrase) > maxPassphrase || strings.ContainsAny(phrase, "\r\n\x00") || !utf8.ValidString(phrase) {
		return fmt.Errorf("%w: a passphrase is one line of %d to %d bytes", ErrRing, minPassphrase, maxPassphrase)
	}
	return ids.addScrypt(phrase)
}

func (ids *identities) addScrypt(phrase string) error {
	return outsideFIPS(func() error {
		id, err := age.NewScryptIdentity(phrase)
		if err != nil {
			return fmt.Errorf("%w: not a passphrase", ErrRing)
		}
		id.SetMaxWorkFactor(scryptWork)
		ids.passphrase = phrase
		ids.add(id, PassphraseRecipient)
		return nil
	})
}

func (ids *identities) add(id age.Identity, recipient string) {
	ids.keys = append(ids.keys, id)
	ids.recipients = append(ids.recipients, recipient)
}
