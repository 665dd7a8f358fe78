package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// Verifier judges single envelopes, without a session: for tools, and for
// rights that are presented by themselves.
type Verifier struct {
	Keys   seal.Source
	Policy *policy.Policy
	Scope  seal.Scope
	Store  replay.Store // nil: reuse is not looked at
	// Purpose is what the envelopes are: attributes, the zero value, or grants
	// (seal.ForGrant). An envelope of another purpose is not authentic.
	Purpose seal.Purpose
	// Name is the attribute that the envelope must be of; empty: any.
	Name string
}

// Verified is an envelope that passed every check that was asked for.
type Verified struct {
	Purpose  seal.Purpose // the Verifier's
	Claims   *seal.Claims
	Opened   seal.Opened
	Decision policy.Decision
	// ReplayChecked says whether the store was asked.
	ReplayChecked bool
}

// Verify opens one attribute's envelope and judges it at now under the policy, or at the
// Store's epoch if that is later, in the order of [Manager.Restore]. If session is not the zero ID the envelope
// must be of that session. With a Store, a once-only envelope that is already
// spent is refused with replay.ErrReplayed. Nothing is written.
//
// A single envelope says nothing about the rest of its set: Verify can't tell
// whether the session went on, was logged out or was rolled back.
func (v Verifier) Verify(ctx context.Context, text string, session seal.ID, now time.Time) (Verified, error) {
	out, err := v.judge(ctx, text, session, now)
	if err != nil || v.Store == nil || !out.Claims.Once {
		return out, err
	}
	right := v.right(out.Claims)
	epoch, err := v.Store.Epoch(ctx)
	if err != nil {
		return Verified{}, fmt.Errorf("asking the replay store: %w", err)
	}
	if right.Issued.Before(epoch) {
		return Verified{}, fmt.Errorf("%w: %s", replay.ErrBeforeEpoch, out.Claims.Name)
	}
	spent, err := v.Store.Spent(ctx, right.ID)
	if err != nil {
		return Verified{}, fmt.Errorf("asking the replay store: %w", err)
	}
	if spent[0] {
		return Verified{}, fmt.Errorf("%w: %s", replay.ErrReplayed, out.Claims.Name)
	}
	out.ReplayChecked = true
	return out, nil
}

// Take verifies a once-only envelope and spends its right for owner; the claim
// is the last check, so that a bad envelope burns nothing. It needs a Store, and
// an owner: the zero one is replay.ErrNoOwner.
func (v Verifier) Take(ctx context.Context, text string, session seal.ID, now time.Time, owner replay.Owner) (Verified, replay.Outcome, error) {
	if v.Store == nil {
		return Verified{}, replay.Lost, errors.New("session: taking needs a replay store")
	}
	out, err := v.judge(ctx, text, session, now)
	if err != nil {
		return Verified{}, replay.Lost, err
	}
	outcome, err := v.spend(ctx, v.Store, &out, owner)
	if err != nil {
		return Verified{}, replay.Lost, err
	}
	return out, outcome, nil
}

// spend claims the right of a judged envelope.
func (v Verifier) spend(ctx context.Context, in replay.Spender, out *Verified, owner replay.Owner) (replay.Outcome, error) {
	if !out.Claims.Once {
		return replay.Lost, fmt.Errorf("%w: %s is not once-only", policy.ErrNotAllowed, out.Claims.Name)
	}
	if owner == (replay.Owner{}) { // whatever the store of others makes of it
		return replay.Lost, replay.ErrNoOwner
	}
	outcome, err := in.Claim(ctx, owner, v.right(out.Claims))
	if err != nil {
		return replay.Lost, fmt.Errorf("spending in the replay store: %w", err)
	}
	if !outcome.Granted() {
		return replay.Lost, fmt.Errorf("%w: %s", replay.ErrReplayed, out.Claims.Name)
	}
	out.ReplayChecked = true
	return outcome, nil
}

// judge is [Verifier.judgeAt] now. What the nodes of a new store issue is dated at its epoch,
// which may lie further ahead than the leeway; further than this only if now is not now.
func (v Verifier) judge(ctx context.Context, text string, session seal.ID, now time.Time) (Verified, error) {
	out, err := v.judgeAt(ctx, text, session, now)
	if v.Store == nil || !errors.Is(err, policy.ErrNotYetValid) {
		return out, err
	}
	epoch, failed := v.Store.Epoch(ctx)
	if failed != nil {
		return Verified{}, fmt.Errorf("asking the replay store: %w", failed)
	}
	if ahead := epoch.Sub(now); ahead <= 0 || ahead > replay.MaxAhead+time.Second+v.Policy.Session().Leeway {
		return out, err
	}
	return v.judgeAt(ctx, text, session, epoch)
}

func (v Verifier) judgeAt(ctx context.Context, text string, session seal.ID, now time.Time) (Verified, error) {
	ring, err := v.Keys.Ring(ctx)
	if err != nil {
		return Verified{}, err
	}
	opener := ring.NewOpener(v.Scope, now)
	defer opener.Wipe()
	open := opener.Attribute
	if v.Purpose == seal.ForGrant {
		open = opener.Grant
	}
	claims, opened, err := open(text)
	if err != nil {
		return Verified{}, err
	}
	if session != (seal.ID{}) && claims.Session != session {
		return Verified{}, fmt.Errorf("%w: sealed for another session", policy.ErrBinding)
	}
	if v.Name != "" && claims.Name != v.Name {
		return Verified{}, fmt.Errorf("%w: %s in place of %s", policy.ErrNotAllowed, claims.Name, v.Name)
	}
	if v.Purpose == seal.ForGrant {
		if err := grantable(v.Policy, claims.Name); err != nil {
			return Verified{}, err
		}
	}
	d := v.Policy.Judge(facts(claims, now, false))
	if d.Verdict != policy.AcceptAttribute {
		return Verified{}, d.Err()
	}
	return Verified{Purpose: v.Purpose, Claims: claims, Opened: opened, Decision: d}, nil
}

func (v Verifier) right(c *seal.Claims) replay.Right {
	return right(v.Scope, v.Policy, c.UID, time.Unix(c.IssuedAt, 0), time.Unix(c.AbsoluteExpires, 0))
}

// right is a once-only attribute's record in a store, the same for every way
// to spend it.
func right(scope seal.Scope, p *policy.Policy, uid seal.ID, issued, absolute time.Time) replay.Right {
	return replay.Right{ID: record(scope, "right", uid[:]), Issued: issued, KeepUntil: keepUntil(p, absolute)}
}

// useOf is the record of the use of a right that a restore spends. The right's own
// is the attempt's, and tells a repetition of the restore that it won.
func useOf(scope seal.Scope, uid seal.ID) replay.ID { return record(scope, "use", uid[:]) }

func record(scope seal.Scope, kind string, raw []byte) replay.ID {
	return replay.NewID(strconv.Itoa(len(scope.App))+":"+scope.App+scope.Tenant, kind, raw)
}

// keepUntil is axp + 2·leeway: no set or right of that expiry is accepted later.
func keepUntil(p *policy.Policy, absolute time.Time) time.Time {
	return absolute.Add(2 * p.Session().Leeway)
}
