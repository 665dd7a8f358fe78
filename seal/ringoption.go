package seal

import (
	"errors"
	"fmt"
	"path/filepath"
)

// RingOption says what opens a keyring folder, and how [InitRing] makes one.
// Without any, dir's [IdentityFile] opens it. Options add up: whatever identity
// matches opens the ring.
type RingOption func(*ringAccess)

// WithIdentityFile opens the ring with the file at path: age identities (X25519
// or post-quantum), or an SSH private key (ed25519, or rsa of 2048 bits or more)
// without a passphrase. The file must be as private as dir's own.
func WithIdentityFile(path string) RingOption {
	return WithIdentity(path, func() ([]byte, error) { return readPrivate(path, maxIdentity) })
}

// WithIdentity opens the ring with what read returns: the content of such a
// file, from a key service. It is called at each load, and its error ends that
// load; name stands in messages. Give read a time limit of its own.
func WithIdentity(name string, read func() ([]byte, error)) RingOption {
	return func(a *ringAccess) { a.sources = append(a.sources, identitySource{name, read, (*identities).addFile}) }
}

// WithPassphraseFile opens the ring with the one line of the file at path, 12 to
// 1024 bytes. The file must be as private as dir's own. Each load takes about a
// second and 256 MiB; keys suit nodes better.
func WithPassphraseFile(path string) RingOption {
	return WithPassphrase(path, func() ([]byte, error) { return readPrivate(path, maxPassphrase+2) })
}

// WithPassphrase opens the ring with the passphrase that read returns, as
// [WithIdentity] does.
func WithPassphrase(name string, read func() ([]byte, error)) RingOption {
	return func(a *ringAccess) {
		a.sources = append(a.sources, identitySource{name, read, (*identities).addPassphrase})
	}
}

// WithRecipients makes [InitRing] encrypt the ring to these as well as to the
// identity that opens it here: age recipients (age1…, age1pq1…) or SSH public
// keys in the form of authorized_keys. Other functions ignore it.
func WithRecipients(recipients ...string) RingOption {
	return func(a *ringAccess) { a.recipients = append(a.recipients, recipients...) }
}

// WithPostQuantum makes the identity that [InitRing] generates a post-quantum
// one (age's MLKEM768-X25519). Recipients of that kind do it by themselves.
func WithPostQuantum() RingOption { return func(a *ringAccess) { a.postQuantum = true } }

// InsecureSampleKeys accepts the published keys of documentation and test
// vectors, which everybody knows. It is for running the vectors.
func InsecureSampleKeys() RingOption { return func(a *ringAccess) { a.sampleKeys = true } }

// ringAccess is what the options of one call amount to.
type ringAccess struct {
	sources     []identitySource
	recipients  []string
	postQuantum bool
	sampleKeys  bool
}

type identitySource struct {
	name string
	read func() ([]byte, error)
	add  func(*identities, []byte) error
}

func newAccess(options []RingOption) *ringAccess {
	a := &ringAccess{}
	for _, option := range options {
		option(a)
	}
	return a
}

// opening is a, with dir's own identity if it names none.
func (a *ringAccess) opening(dir string) *ringAccess {
	if len(a.sources) == 0 {
		WithIdentityFile(filepath.Join(dir, IdentityFile))(a)
	}
	return a
}

func (a *ringAccess) identities() (*identities, error) {
	ids := &identities{}
	for _, s := range a.sources {
		text, err := s.read()
		if errors.Is(err, ErrRing) {
			return nil, err // it names the file
		}
		if err != nil {
			return nil, fmt.Errorf("seal: opening the keyring: %s: %w", s.name, err)
		}
		if err := s.add(ids, text); err != nil {
			return nil, refusedAt(s.name, err)
		}
		for _, r := range ids.recipients {
			if err := a.refuseSample("identity", []byte(r)); err != nil {
				return nil, refusedAt(s.name, err)
			}
		}
	}
	return ids, nil
}

// ring is doc's, unless that has a published key or is not sane.
func (a *ringAccess) ring(doc *ringDoc) (*Ring, error) {
	if err := a.refuse(doc); err != nil {
		return nil, err
	}
	return doc.ring()
}

// refuse checks that doc has no published key and no published recipient.
func (a *ringAccess) refuse(doc *ringDoc) error {
	for _, k := range doc.Keys {
		secret, _ := decode64(k.Secret) // a secret that is none is refused elsewhere
		if err := a.refuseSample(fmt.Sprintf("key %.20q", k.ID), secret); err != nil {
			return err
		}
	}
	return a.refuseRecipients(doc.Recipients)
}

func (a *ringAccess) refuseRecipients(recipients []string) error {
	for _, r := range recipients {
		if err := a.refuseSample(fmt.Sprintf("recipient %.20q", r), []byte(r)); err != nil {
			return err
		}
	}
	return nil
}
