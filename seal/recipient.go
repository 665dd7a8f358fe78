package seal

import (
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"
)

// PassphraseRecipient, as the only recipient of a ring, stands for whoever
// knows the passphrase.
const PassphraseRecipient = "passphrase"

// scryptWork is the work factor of a passphrase, as a power of two: 256 MiB and
// about a second. It is the most that is accepted, too: nothing but this
// package writes rings.
const scryptWork = 18

const postQuantumPrefix = "age1pq1"

// recipientKind groups the recipients that may stand in one ring. A
// post-quantum recipient beside another is no better than the other, and a
// passphrase beside another authenticates nothing; age refuses both.
type recipientKind int

const (
	classicRecipient recipientKind = iota // X25519 and SSH
	postQuantumRecipient
	passphraseKind
)

type recipient struct {
	text string // its one spelling
	kind recipientKind
	age  age.Recipient // nil for a passphrase
}

// parseRecipient knows the recipients of age, of age's post-quantum keys, and
// SSH public keys. It knows no plugins: one would run a program named by a text
// (CVE-2024-56327).
func parseRecipient(text string) (recipient, error) {
	switch text = strings.TrimSpace(text); {
	case text == PassphraseRecipient:
		return recipient{text, passphraseKind, nil}, nil
	case strings.HasPrefix(text, postQuantumPrefix):
		if r, err := age.ParseHybridRecipient(text); err == nil {
			return recipient{r.String(), postQuantumRecipient, r}, nil
		}
	case strings.HasPrefix(text, "age1"):
		if r, err := age.ParseX25519Recipient(text); err == nil {
			return recipient{r.String(), classicRecipient, r}, nil
		}
	case strings.HasPrefix(text, "ssh-"):
		if key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(text)); err == nil && len(rest) == 0 {
			return sshRecipient(key)
		}
	}
	return recipient{}, fmt.Errorf("%w: a recipient is not an age (X25519 or post-quantum) or SSH (ed25519 or rsa) public key", ErrRing)
}

// sshRecipient refuses RSA keys of under 2048 bits.
func sshRecipient(key ssh.PublicKey) (r recipient, err error) {
	r = recipient{text: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))}
	switch key.Type() {
	case ssh.KeyAlgoED25519:
		r.age, err = agessh.NewEd25519Recipient(key)
	case ssh.KeyAlgoRSA:
		r.age, err = agessh.NewRSARecipient(key)
	default:
		err = fmt.Errorf("of another type")
	}
	if err != nil {
		return r, fmt.Errorf("%w: an SSH key is not ssh-ed25519, or ssh-rsa of 2048 bits or more", ErrRing)
	}
	return r, nil
}

// parseRecipients returns recipients in their one spelling, without doubles, and
// refuses kinds that can't stand together.
func parseRecipients(texts []string) (out []recipient, err error) {
	for _, text := range texts {
		r, err := parseRecipient(text)
		if err != nil {
			return nil, err
		}
		if len(out) > 0 && r.kind != out[0].kind {
			return nil, fmt.Errorf("%w: a passphrase, post-quantum recipients and other recipients can't be mixed in one ring", ErrRing)
		}
		if !slices.ContainsFunc(out, func(o recipient) bool { return o.text == r.text }) {
			out = append(out, r)
		}
	}
	return out, nil
}

// canonicalRecipients is the text of parseRecipients.
func canonicalRecipients(texts []string) (out []string, err error) {
	err = outsideFIPS(func() error {
		parsed, err := parseRecipients(texts)
		for _, r := range parsed {
			out = append(out, r.text)
		}
		return err
	})
	return out, err
}

func ageRecipients(texts []string, phrase string) (out []age.Recipient, err error) {
	parsed, err := parseRecipients(texts)
	if err != nil {
		return nil, err
	}
	for _, r := range parsed {
		if r.kind == passphraseKind {
			to, err := age.NewScryptRecipient(phrase)
			if err != nil {
				return nil, fmt.Errorf("%w: the ring is encrypted to a passphrase, and none is given", ErrRing)
			}
			to.SetWorkFactor(scryptWork)
			r.age = to
		}
		out = append(out, r.age)
	}
	return out, nil
}
