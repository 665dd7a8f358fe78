package sessionext

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"maps"
	"sync"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// Held is the sealed set that a client keeps. It is opaque to the client.
type Held struct {
	Version  session.Version
	Manifest string
	Blobs    map[string]string // envelope by slot
}

// Keeper is the client's side in Go: a bayeux.ClientExtension that keeps the
// newest set in memory and presents it at each handshake. When a server asks for
// a proof of the session's key it makes one, of the key that [Keeper.UseKey] gave
// or else of one that it draws. It is safe for concurrent use.
//
// Of a server it takes no more than another server would take back (docs/SPEC.md §12):
// 64 envelopes of 16 KiB, 256 KiB in all. A push that would make the set larger, or that
// is not spelled as envelopes are, is ignored, and the set that was held stays.
type Keeper struct {
	mu        sync.Mutex
	held      *Held
	key       *ecdsa.PrivateKey
	challenge string // to sign in the next handshake; empty: none
	episode   *episode
	answered  bool // a handshake was answered on this connection
	disowned  bool // the server knows no session for what we hold: any complete set replaces it
	last      Reply
	changed   chan struct{}
}

// episode is one try to restore: the token and the very set that is presented.
// It ends with an answer that leaves the session where it was, or else with the
// first set of a later fence: if the node dies before that set is here, only the
// same attempt wins again.
type episode struct {
	attempt string
	set     Held
}

// NewKeeper makes a Keeper that holds nothing.
func NewKeeper() *Keeper { return &Keeper{changed: make(chan struct{})} }

// Held returns a copy of the set; ok is false if there is none.
func (k *Keeper) Held() (held Held, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		return Held{}, false
	}
	return Held{k.held.Version, k.held.Manifest, maps.Clone(k.held.Blobs)}, true
}

// Put replaces the set and ends any episode: for programs that store it.
func (k *Keeper) Put(h Held) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held, k.episode = &h, nil
	k.signal()
}

// UseKey sets the key for proofs, which must be on P-256: for programs that store
// it. A session is bound to the first one that is proved.
func (k *Keeper) UseKey(key *ecdsa.PrivateKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.key = key
}

// Last is the newest answer to a handshake; its zero value says that there was none.
func (k *Keeper) Last() Reply {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

// Changed returns a channel that is closed at the next change of what Held or
// Last return.
func (k *Keeper) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}

func (k *Keeper) signal() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// Outgoing implements bayeux.ClientExtension.
func (k *Keeper) Outgoing(m *bayeux.Message) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	request := Request{V: wireVersion}
	switch m.Channel {
	case bayeux.MetaHandshake:
		k.answered = false
		if k.episode == nil && k.held != nil {
			var owner session.Owner
			rand.Read(owner[:])
			k.episode = &episode{formatOwner(owner), *k.held}
		}
		if k.episode != nil {
			request.Attempt, request.Manifest, request.Blobs = k.episode.attempt, k.episode.set.Manifest, k.episode.set.Blobs
		}
		request.Proof = k.prove(request)
	case bayeux.MetaConnect:
		if k.held != nil {
			request.Gen = session.FormatVersion(k.held.Version)
		}
	default:
		return true
	}
	return m.SetExt(ExtName, request) == nil
}

// prove signs the challenge that the last handshake was answered with. Without a
// proof the server asks again.
func (k *Keeper) prove(r Request) string {
	if k.challenge == "" {
		return ""
	}
	if k.key == nil {
		var err error
		if k.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return ""
		}
	}
	proof, err := session.Prove(k.key, k.challenge, r.Attempt, r.Manifest)
	if err != nil {
		return ""
	}
	return proof
}

// Incoming implements bayeux.ClientExtension. Pushes do not reach the application.
func (k *Keeper) Incoming(m *bayeux.Message) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch m.Channel {
	case bayeux.MetaHandshake:
		var reply Reply
		if present, err := m.DecodeExt(ExtName, &reply); present && err == nil {
			k.handshake(reply)
		}
	case Channel:
		if m.Successful != nil {
			return true // the answer to a publication, no push
		}
		var u Update
		if m.DecodeDataStrict(&u) == nil && u.V == wireVersion {
			k.update(u)
		}
		return false
	}
	return true
}

func (k *Keeper) handshake(reply Reply) {
	k.last, k.challenge = reply, ""
	if len(reply.Challenge) <= seal.ChallengeLen { // it goes with the next handshake
		k.challenge = reply.Challenge
	}
	defer k.signal()
	if reply.State == StateRetry {
		return // the same attempt and set again
	}
	if reply.State == StateRefused && k.episode != nil && k.held != nil && k.held.Version == k.episode.set.Version {
		k.held = nil
	}
	k.disowned = reply.State == StateNone && reply.Gen == "" && k.episode != nil
	if !k.moved(reply) {
		k.episode = nil
	}
	k.answered = true
}

// moved reports that the session lives under a later fence than that of the set
// presented, so that this set alone restores no more.
func (k *Keeper) moved(reply Reply) bool {
	if k.episode == nil || reply.State == StateRefused {
		return false
	}
	v, _ := session.ParseVersion(reply.Gen)
	return reply.State == StateRestored || v.Fence > k.episode.set.Version.Fence
}

// renewed reports a complete set of the session that took the place of the one held.
// Its generation is higher, which tells it from an older set of the new ID itself.
func (k *Keeper) renewed(u Update, v session.Version) bool {
	over, ok := session.ParseVersion(u.Over)
	return ok && u.Base == "" && k.held != nil && v.Less(k.held.Version) && !over.Less(k.held.Version) && v.Gen > k.held.Version.Gen
}

func (k *Keeper) update(u Update) {
	v, ok := session.ParseVersion(u.Gen)
	if !ok || !k.answered {
		return
	}
	if u.End {
		if k.held == nil || !v.Less(k.held.Version) { // an old node can't end what has moved on
			k.held = nil
			k.signal()
		}
		return
	}
	renewed := k.renewed(u, v)
	if k.held != nil && !k.held.Version.Less(v) && !(k.disowned && u.Base == "") && !renewed {
		return
	}
	next := Held{Version: v, Manifest: u.Manifest, Blobs: map[string]string{}}
	if u.Base != "" {
		if k.held == nil || session.FormatVersion(k.held.Version) != u.Base {
			return // a push was lost; the next connect says what we hold
		}
		maps.Copy(next.Blobs, k.held.Blobs)
	}
	maps.Copy(next.Blobs, u.Set)
	for _, slot := range u.Del {
		delete(next.Blobs, slot)
	}
	if !next.presentable() {
		return
	}
	k.held, k.disowned = &next, false
	if k.episode != nil && (renewed || v.Fence > k.episode.set.Version.Fence) {
		k.episode = nil
	}
	k.signal()
}
