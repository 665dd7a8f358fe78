package replay

import (
	"context"
	"time"
)

// Right is one once-only right: the use-id of an attribute.
type Right struct {
	ID ID
	// Issued is when the right was created: now, or the store's epoch if that is
	// later. It is fixed for life, and compared with the store's epoch and clock.
	Issued time.Time
	// KeepUntil is axp + 2·leeway: the last moment at which any envelope of the
	// right could be accepted, plus the clocks' disagreement. It is fixed for
	// life like axp, and not later than that of the right's session.
	KeepUntil time.Time
}

// Version is a place in a session's history. Versions are ordered by fence,
// then generation.
type Version struct {
	Fence, Gen uint64
}

// Less reports whether v is older than w.
func (v Version) Less(w Version) bool {
	return v.Fence < w.Fence || v.Fence == w.Fence && v.Gen < w.Gen
}

// Login says as whom a session acts and since when. The zero Login is nobody,
// and nothing is compared.
type Login struct {
	// Subject is NewID(namespace, "subject", …).
	Subject ID
	// Since is in whole seconds, from [LoginTime]. It is sealed with the subject;
	// neither a re-seal nor a restore moves it.
	Since time.Time
}

// LoginTime is the Since of a login at now whose subject's cut is as
// [Subjects.SubjectCut] answered: never at or before the cut, so that a login
// after a revocation lives, in the same second and under a slower clock too.
// Ask for the cut before the credentials are checked: a password that is changed
// in between then logs nobody in.
func LoginTime(now, cut time.Time) time.Time {
	return time.Unix(max(now.Unix(), cut.Unix()+1), 0)
}

// Place is a session as a node holds it.
type Place struct {
	Session ID
	Version Version
	// KeepUntil is the session's axp + 2·leeway.
	KeepUntil time.Time
	Login     Login
}

// Verdict is a store's decision on a session. Its zero value denies.
type Verdict uint8

// The verdicts of [Sessions].
const (
	Refused    Verdict = iota // nothing is known: beside an error, or for an acknowledgement out of reach
	Superseded                // the session has moved on: another fence, or below the floor
	RolledBack                // older than a protected change
	Revoked                   // logged out: the session, or the login of its subject
	Spent                     // a right that must be burnt is already spent
	Granted                   // the operation took effect
)

// String returns the verdict's lower-case word.
func (v Verdict) String() string {
	switch v {
	case Superseded:
		return "superseded"
	case RolledBack:
		return "rolled back"
	case Revoked:
		return "revoked"
	case Spent:
		return "spent"
	case Granted:
		return "granted"
	}
	return "refused"
}

// Burn is a right that a restore spends.
type Burn struct {
	Right
	// Required refuses the whole restore, with nothing written, when the right
	// is already spent by another owner, or when it lies before the epoch or
	// beyond the horizon. Otherwise that right alone is lost. One that is dated
	// ahead is [ErrAhead] for the whole restore either way.
	Required bool
}

// RestoreRequest asks to restore one set of one session, all in one atomic step.
type RestoreRequest struct {
	Session ID
	Set     Version
	// Issued is when the set was sealed, as in [Right].
	Issued time.Time
	// KeepUntil is the session's axp + 2·leeway.
	KeepUntil time.Time
	// Login is that of the set.
	Login Login
	// Attempt decides whether a repeated request is the same client's retry. It
	// also owns the rights in Burn, so that the retry holds them. The zero one is
	// [ErrNoOwner].
	Attempt Owner
	// Strict refuses a set older than the watermark; otherwise it is granted
	// and [Restored.BehindWatermark] tells the caller what to withhold.
	Strict bool
	// Burn lists the rights to spend with this restore.
	Burn []Burn
	// Look lists rights whose state is only reported.
	Look []ID
}

// Restored is the answer to a [RestoreRequest]. Unless Verdict is [Granted] the
// store is unchanged and the other fields are zero.
type Restored struct {
	Verdict Verdict
	// Fence is the session's new fence.
	Fence uint64
	// BehindWatermark says that a protected change is newer than the set: what
	// must not be rolled back is to be withheld. The attempt that wins again is
	// told the same.
	BehindWatermark bool
	// Burnt holds one outcome for each Burn; Lost means spent by another, or
	// before the epoch, or beyond the horizon.
	Burnt []Outcome
	// Spent says of each Look whether it was spent before this restore.
	Spent []bool
}

// Rights spends once-only rights.
type Rights interface {
	// Claim spends rights for owner, all or none: if any of them is held by
	// another owner nothing is written and the outcome is [Lost]. It is [Mine]
	// if owner held every one before, otherwise [Won]. A right listed twice
	// counts once; a claim of no rights is an error. With an error the outcome
	// is [Lost].
	Claim(ctx context.Context, owner Owner, rights ...Right) (Outcome, error)

	// Spent reports which ids are spent, and writes nothing.
	Spent(ctx context.Context, ids ...ID) ([]bool, error)
}

// Sessions fences sessions. A record that does not exist reads as all zero, and
// is created by the first operation that has something to note in it. Each
// operation is one round trip. Where a session's or its login's record may be
// gone, the operation is refused: KeepUntil past or purged is [ErrBeyondHorizon],
// a login before the epoch is [ErrBeforeEpoch], and both come before any verdict.
// A session that was revoked, and one whose subject's cut is at or after its
// Login.Since, is [Revoked] before anything else is looked at. With an error the
// verdict is [Refused]. Only Acknowledge is different, since it is about many
// sessions. The table is in docs/SPEC.md §8; docs/model.md explores it.
type Sessions interface {
	// Restore decides in this order: if the same attempt restored this very set
	// last, and since then nothing was protected or acknowledged (floor =
	// watermark = 0), it wins again. Otherwise, if the set's fence is not the
	// session's, or its generation is below the floor, it is [Superseded]. If it
	// is below the watermark, or was when the same attempt won, it is
	// [RolledBack] when Strict. If a Required burn is held by
	// another owner it is [Spent]. Otherwise it is granted: fence+1, floor =
	// watermark = 0, attempt and set are noted, burns are claimed. A set issued
	// before the epoch is [ErrBeforeEpoch], and one dated ahead [ErrAhead].
	Restore(ctx context.Context, r RestoreRequest) (Restored, error)

	// Protect raises the watermark to at.Version.Gen before a protected change
	// is made visible. [Superseded] means that the session lives elsewhere by
	// now: the change must not be seen.
	Protect(ctx context.Context, at Place) (Verdict, error)

	// Take spends right for owner if the session still is under
	// by.Version.Fence. The verdict is [Granted] with the claim's outcome,
	// [Superseded] or [Revoked] with [Lost]; the watermark is left alone. A right
	// before the epoch, dated ahead or beyond the horizon is an error, as in a claim.
	Take(ctx context.Context, by Place, owner Owner, right Right) (Verdict, Outcome, error)

	// Acknowledge raises the floor of each session that still is under
	// Version.Fence to Version.Gen, and answers one verdict for each, in order:
	// [Granted] if the session is under that fence, [Superseded] if it moved to
	// another, [Revoked] if it or its login was ended, and [Refused], without an
	// error, where the others return [ErrBeyondHorizon] or [ErrBeforeEpoch].
	//
	// It never lowers a floor. What raises none is answered all the same and
	// writes nothing, not even a later KeepUntil: with Gen 0 a node learns
	// whether a session still lives with it.
	//
	// Acknowledgements make no record in the last eighth, rounded up, of a
	// store's room for sessions, so that visitors who come and go leave it to
	// restores, protected changes and logouts. Then the error is [ErrFull]: the
	// verdicts hold, and the floors of some sessions without a record were not
	// raised. With any other error there are no verdicts, and some floors may
	// have been raised. Doing it again does no harm.
	Acknowledge(ctx context.Context, held ...Place) ([]Verdict, error)

	// Renew ends the session in favour of next, the record name of a new random
	// session ID with the same state, as at a login; or, as a logout, in favour of a
	// name that is no session's. It is granted once, if the
	// session still is under old.Version.Fence, and again for the same fence and
	// next; so no copy left behind on another node becomes a second session. The
	// new session has no record, like any new one. Only when Renew is granted may
	// anybody see the new ID. Whoever called repeats it after an error, with the
	// same next. If the node dies in between, the session is over and its owner
	// begins again: neither ID is of use to anybody else.
	Renew(ctx context.Context, old Place, next ID) (Verdict, error)

	// Revoke refuses every set of the session until keepUntil. It is idempotent.
	// A keepUntil that is past is [ErrBeyondHorizon]: there is nothing left to
	// refuse.
	Revoke(ctx context.Context, session ID, keepUntil time.Time) error
}

// Subjects ends the logins of one subject in all its sessions: after a change of
// the password, or to log out everywhere.
type Subjects interface {
	// RevokeSubject makes every login of subject void whose Since is at or before
	// the cut. The cut becomes the latest of before, the epoch and one second after the
	// present cut: it never goes back, and each call ends what was logged in since
	// the one before, at the epoch too when that is yet to come. Repeating it is harmless but ends logins made meanwhile.
	//
	// Before should be now plus the disagreement of the nodes' clocks. KeepUntil
	// must be later than axp + 2·leeway of every session that can exist now; one
	// that is past is [ErrBeyondHorizon]. The zero subject is an error, and so is a
	// before later than keepUntil.
	//
	// It is one atomic operation by itself. An operation on a session that begins
	// after it was answered sees the cut; one that overlaps it may not, and its
	// node learns of it from the next Acknowledge.
	RevokeSubject(ctx context.Context, subject ID, before, keepUntil time.Time) error

	// SubjectCut is the present cut, in whole seconds; the zero time if there is
	// none. It writes nothing. See [LoginTime].
	SubjectCut(ctx context.Context, subject ID) (time.Time, error)
}

// Spender spends rights. Every [Store] is one. A store that lives in a database
// makes another of a transaction of the caller's own: then the effect and the
// spending commit or roll back together, so that the effect happens exactly once.
// What it grants holds if that transaction commits. Until then others wait or
// get an error; they are not told [Lost] for what may still be rolled back.
type Spender interface {
	Claim(ctx context.Context, owner Owner, rights ...Right) (Outcome, error)
	Take(ctx context.Context, by Place, owner Owner, right Right) (Verdict, Outcome, error)
}

// TxSpender is a Spender that a store made of a caller's transaction. Of is that
// store: what another one spends, it does not know.
type TxSpender interface {
	Spender
	Of() Store
}

// Store is what the session package needs. The contract, which
// replaytest.Run checks clause by clause:
//
//  1. Atomic. Each operation is one step over all users of the store, in this
//     process and in others, for any number of goroutines. Never read-then-write.
//  2. Durable. What an operation wrote is as durable as the store promises to be
//     before it answers.
//  3. All or none. A batch of rights is spent whole or not at all, and a restore
//     that is not granted spends and changes nothing.
//  4. Owner. The same owner learns that it holds a right ([Mine]) for as long as
//     the right is kept; nobody else does. A claim, take or restore by the zero Owner is
//     [ErrNoOwner], and changes nothing.
//  5. Kept. A record is kept at least until the latest KeepUntil that it was given.
//  6. Horizon. A KeepUntil that has passed by the store's clock, or is at or below
//     the largest one purged, is [ErrBeyondHorizon], also when the clock went back.
//  7. Epoch. What was issued before the memory began is [ErrBeforeEpoch]. It is
//     dated by its issuer's clock, and the epoch by the store's. So a right or set
//     dated more than [MaxAhead] after the store's clock, and after its epoch, is
//     [ErrAhead], and a memory begins later than all that one that was lost before can
//     have granted ([FirstEpoch]); two that begin in the same second are one to this
//     rule. A login is only compared with the epoch, since after a revocation it is
//     dated ahead by design.
//  8. Full refuses: [ErrFull], and nothing live is evicted.
//  9. Unknown is neither. A store that can't tell returns an error that is none
//     of this package's final ones, beside the zero answer.
//  10. Cancelled. A cancelled ctx ends the wait with ctx's error, not necessarily
//     the operation.
//  11. Repeated. The caller repeats what ended in an error, with the same owner,
//     attempt or successor; the store itself repeats nothing on its own that
//     could turn a won answer into a lost one.
//  12. Apart. Records of different namespaces and kinds never meet.
//  13. Closed. After Close everything is [ErrClosed].
type Store interface {
	Rights
	Sessions
	Subjects
	// Epoch is the moment at which the store's memory begins, in whole seconds:
	// everything issued before it, that is Issued.Unix() < Epoch.Unix(), is
	// refused with [ErrBeforeEpoch]. It lies up to [MaxAhead] and a second ahead when a
	// store was just made. Nobody may issue below it: until then a set, right or
	// login takes Epoch as its time, at which everything may be dated.
	Epoch(ctx context.Context) (time.Time, error)
	// Close releases the store. Later calls return [ErrClosed].
	Close() error
}
