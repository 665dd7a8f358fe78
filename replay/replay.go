// Package replay is the memory that makes once-only and rollback promises true:
// who spent a right, and how far each session has moved.
//
// A [Store] keeps three kinds of small records: rights (a once-only attribute's
// use-id, spent at most once), sessions (fence, floor, watermark and the last
// winning restore, see docs/SPEC.md §8) and subjects (whose logins up to a moment
// are void). Most people only choose an implementation ([NewMemory],
// filestore.Open) and hand it to session.New.
//
// [None] is the deliberate mode without a memory. Whoever writes a store finds
// the decisions ready made in [State] and [Ledger], and proves it with
// replaytest.Run.
//
// The package knows nothing of envelopes, policies or HTTP. It never logs.
package replay

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// ID names one record in a store. Make it with [NewID], never from the text of
// an envelope: only authenticated ids are stable.
type ID [16]byte

// Owner is the caller's own random attempt token. A retry that carries the same
// Owner learns the outcome of the first try; everybody else has lost. The zero
// Owner claims nothing: see [ErrNoOwner].
type Owner [16]byte

// NewOwner draws an owner. Keep it until the outcome is known: a retry needs the
// same one.
func NewOwner() (o Owner) {
	rand.Read(o[:]) // never fails
	return o
}

// NewID derives the record name of raw (a uid, sid or subject, as authenticated)
// within namespace (app and tenant), so that two applications can share one store
// and a right can never be mistaken for a session. Each part is length-prefixed.
func NewID(namespace, kind string, raw []byte) (id ID) {
	text := make([]byte, 0, 192)
	for _, part := range [...]string{"sealed-blob/v1/replay", namespace, kind, string(raw)} {
		text = binary.BigEndian.AppendUint64(text, uint64(len(part)))
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	copy(id[:], sum[:])
	return id
}

// Outcome is the answer to a claim. Its zero value denies.
type Outcome uint8

// The outcomes of a claim.
const (
	Lost Outcome = iota // somebody else holds it: replayed
	Mine                // this owner won it earlier: the retry of a lost answer
	Won                 // this call won it
)

// String returns "lost", "mine" or "won".
func (o Outcome) String() string {
	switch o {
	case Won:
		return "won"
	case Mine:
		return "mine"
	}
	return "lost"
}

// Granted says whether the caller holds the right.
func (o Outcome) Granted() bool { return o == Won || o == Mine }

// Errors of a store. Every error but these means "we could not tell": the
// caller refuses and may retry with the same [Owner].
var (
	// ErrReplayed says that a right was already spent. Stores answer [Lost];
	// the session package turns it into this error.
	ErrReplayed = errors.New("replay: already spent")
	// ErrBeforeEpoch says that the right, set or login is from before this store's
	// memory began, so that it cannot know what became of it. A final refusal.
	ErrBeforeEpoch = errors.New("replay: issued before the store's epoch")
	// ErrBeyondHorizon says that the record may already have been purged: its
	// KeepUntil has passed by the store's clock, or is at or below the largest
	// KeepUntil that the store ever purged. A final refusal, also when the clock
	// was stepped back since.
	ErrBeyondHorizon = errors.New("replay: at or below the purge horizon")
	// ErrNoOwner says that a claim, take or restore came without an owner. All who forget
	// theirs would be one owner, and each would hold what any of them won.
	ErrNoOwner = errors.New("replay: claim without an owner")
	// ErrFull says that the store is at its capacity. Nothing live is evicted.
	ErrFull = errors.New("replay: store is full")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("replay: store is closed")
)

// ErrAhead says that a right or set is dated more than [MaxAhead] after the store's
// clock, and after its epoch: if it were granted now, a memory that is lost and begins
// anew soon could grant it again. It is not final: nothing was written, and the same
// call is answered when the store's clock has come near. The store is well, so that
// a [Guard] goes on asking it; the issuer's clock is not.
var ErrAhead = errors.New("replay: dated ahead of the store's clock")

// ErrArgument says that a call made no sense and that nothing was written: a claim
// of no rights, a revocation of no subject or of logins later than its KeepUntil, a
// number or time that the store can't hold. It is the caller's mistake, and tells
// nothing of the store.
var ErrArgument = errors.New("replay: call makes no sense")

// ErrHeld says that another transaction holds what the call is about, and that the
// store waited for its end no longer. It is not final: the store could not tell.
// But it is well, so that a [Guard] goes on asking it.
var ErrHeld = errors.New("replay: held by another transaction")
