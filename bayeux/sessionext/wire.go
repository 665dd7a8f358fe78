package sessionext

import (
	"encoding/base64"
	"errors"

	"github.com/sealedblob/sealedblob/session"
)

// ExtName is the member of a Bayeux message's ext; Channel is where sets are
// pushed (docs/SPEC.md §9). Clients never subscribe to it and never publish on it.
const (
	ExtName = "sealed"
	Channel = "/service/sealed"
)

const wireVersion = 1

// States of a handshake's reply.
const (
	StateRestored = "restored"
	StateRefused  = "refused"
	StateNone     = "none"
	StateRetry    = "retry"
)

// Request is ext.sealed of a handshake and of a connect (Gen alone).
type Request struct {
	V        int               `json:"v"`
	Attempt  string            `json:"attempt,omitempty"`
	Manifest string            `json:"manifest,omitempty"`
	Blobs    map[string]string `json:"blobs,omitempty"`
	Gen      string            `json:"gen,omitempty"`
	Proof    string            `json:"proof,omitempty"` // reserved; refused when present
}

// Reply is ext.sealed of a handshake's reply.
type Reply struct {
	V       int      `json:"v"`
	State   string   `json:"state"`
	Gen     string   `json:"gen,omitempty"`
	Dropped []string `json:"dropped,omitempty"` // slots
}

// Update is the data of a push.
type Update struct {
	V        int               `json:"v"`
	Gen      string            `json:"gen"`
	Base     string            `json:"base,omitempty"`
	Manifest string            `json:"manifest,omitempty"`
	Set      map[string]string `json:"set,omitempty"`
	Del      []string          `json:"del,omitempty"`
	End      bool              `json:"end,omitempty"`
}

var errWire = errors.New("sessionext: ext.sealed is not of version 1")

func (r *Request) held() (*session.Version, error) {
	if r.Gen == "" {
		return nil, nil
	}
	v, ok := session.ParseVersion(r.Gen)
	if !ok {
		return nil, errWire
	}
	return &v, nil
}

func (r *Request) empty() bool { return r.Manifest == "" && len(r.Blobs) == 0 }

func parseOwner(text string) (owner session.Owner, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != len(owner) || base64.RawURLEncoding.EncodeToString(raw) != text {
		return owner, errWire
	}
	return session.Owner(raw), nil
}

func formatOwner(owner session.Owner) string { return base64.RawURLEncoding.EncodeToString(owner[:]) }

func newUpdate(p session.Push) Update {
	u := Update{V: wireVersion, Gen: session.FormatVersion(p.Version), Manifest: p.Manifest, Set: p.Set, Del: p.Del, End: p.End}
	if p.Delta {
		u.Base = session.FormatVersion(p.Base)
	}
	return u
}
