package session

// WireVersion is the version of what clients and nodes tell each other about a
// sealed set (docs/SPEC.md §9, §10), whatever carries it: the ext.sealed of
// Bayeux messages (bayeux/sessionext) or [Manager.RestoreHandler].
const WireVersion = 1

// States of a [WireReply].
const (
	StateRestored = "restored" // the session lives here now
	StateRefused  = "refused"  // the set is no good
	StateNone     = "none"     // nothing was restored
	StateRetry    = "retry"    // we could not tell: the same set and token again, with a proof if there is a challenge
)

// WireRequest is what a client says: the set that it presents, or the version that it holds.
type WireRequest struct {
	V        int               `json:"v"`                 // WireVersion
	Attempt  string            `json:"attempt,omitempty"` // 22 characters of base64url
	Manifest string            `json:"manifest,omitempty"`
	Blobs    map[string]string `json:"blobs,omitempty"` // envelope by slot
	Gen      string            `json:"gen,omitempty"`   // version held
	Proof    string            `json:"proof,omitempty"` // of the session's key, for this request; see [Prove]
}

// Presents reports whether the request carries a set.
func (r *WireRequest) Presents() bool { return r.Manifest != "" || len(r.Blobs) != 0 }

// Held is the version that the client says it holds, nil for none; ok is false
// if what it says is no version.
func (r *WireRequest) Held() (held *Version, ok bool) {
	if r.Gen == "" {
		return nil, true
	}
	v, ok := ParseVersion(r.Gen)
	if !ok {
		return nil, false
	}
	return &v, true
}

func (r *WireRequest) owner() (owner Owner, ok bool) {
	raw, ok := bytes64(r.Attempt)
	if !ok || len(raw) != len(owner) {
		return owner, false
	}
	return Owner(raw), true
}

// WireReply is the answer to a set that was presented.
type WireReply struct {
	V       int      `json:"v"` // WireVersion
	State   string   `json:"state"`
	Gen     string   `json:"gen,omitempty"`     // version of the session here; empty: it does not live here
	Dropped []string `json:"dropped,omitempty"` // slots
	// Challenge, with StateRetry, is to be signed for the repetition; see [Prove].
	Challenge string `json:"challenge,omitempty"`
}

// WirePush is a [Push] as it travels. Gen, Base and Over are versions as
// [FormatVersion] writes them.
type WirePush struct {
	V        int               `json:"v"` // WireVersion
	Gen      string            `json:"gen"`
	Base     string            `json:"base,omitempty"` // empty: the set is complete
	Over     string            `json:"over,omitempty"`
	Manifest string            `json:"manifest,omitempty"`
	Set      map[string]string `json:"set,omitempty"` // envelope by slot
	Del      []string          `json:"del,omitempty"` // slots
	End      bool              `json:"end,omitempty"`
}

// Wire returns p as it travels.
func (p Push) Wire() WirePush {
	u := WirePush{V: WireVersion, Gen: FormatVersion(p.Version), Manifest: p.Manifest, Set: p.Set, Del: p.Del, End: p.End}
	if p.Delta {
		u.Base = FormatVersion(p.Base)
	}
	if p.Over != (Version{}) {
		u.Over = FormatVersion(p.Over)
	}
	return u
}
