package session_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// spy is a store that notes what it is told, and can be made to answer
// otherwise: a hook that reports false leaves the answer to the store below.
type spy struct {
	replay.Store
	mu       sync.Mutex
	restores []replay.RestoreRequest
	takes    []replay.Right
	claims   []replay.Right
	renewals []time.Time // a logout is one

	restore func(context.Context) (replay.Restored, error, bool)
	take    func(context.Context) (replay.Verdict, replay.Outcome, error, bool)
	renew   func(context.Context) (error, bool)
	broken  error // of Claim and Spent
}

func (s *spy) Restore(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
	s.mu.Lock()
	s.restores = append(s.restores, r)
	s.mu.Unlock()
	if s.restore != nil {
		if answer, err, mine := s.restore(ctx); mine {
			return answer, err
		}
	}
	return s.Store.Restore(ctx, r)
}

func (s *spy) Take(ctx context.Context, by replay.Place, owner replay.Owner, right replay.Right) (replay.Verdict, replay.Outcome, error) {
	s.mu.Lock()
	s.takes = append(s.takes, right)
	s.mu.Unlock()
	if s.take != nil {
		if verdict, outcome, err, mine := s.take(ctx); mine {
			return verdict, outcome, err
		}
	}
	return s.Store.Take(ctx, by, owner, right)
}

func (s *spy) Claim(ctx context.Context, owner replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	s.mu.Lock()
	s.claims = append(s.claims, rights...)
	s.mu.Unlock()
	if s.broken != nil {
		return replay.Won, s.broken
	}
	return s.Store.Claim(ctx, owner, rights...)
}

func (s *spy) Spent(ctx context.Context, ids ...replay.ID) ([]bool, error) {
	if s.broken != nil {
		return make([]bool, len(ids)), s.broken
	}
	return s.Store.Spent(ctx, ids...)
}

func (s *spy) Renew(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
	s.mu.Lock()
	s.renewals = append(s.renewals, old.KeepUntil)
	s.mu.Unlock()
	if s.renew != nil {
		if err, mine := s.renew(ctx); mine {
			return replay.Refused, err
		}
	}
	return s.Store.Renew(ctx, old, next)
}

// spied puts a spy in front of the cluster's store.
func (c *cluster) spied() *spy {
	s := &spy{Store: c.store}
	c.store = s
	return s
}

// with is the same cluster under another policy.
func (c *cluster) with(text string) *cluster {
	other := *c
	other.policy = testkit.Policy(c.t, text)
	return &other
}

// connected attaches a browser that holds the newest set.
func connected(t testing.TB, s *session.Session) *browser {
	t.Helper()
	b := &browser{}
	must(t, s.Attach(b))
	must(t, s.Acknowledge(t.Context(), b, nil))
	must(t, s.Acknowledge(t.Context(), b, b.version))
	return b
}

var shopScope = seal.Scope{App: "shop"}

// envelopeOf finds the envelope of an attribute in a set.
func (c *cluster) envelopeOf(p session.Presented, name string) string {
	c.t.Helper()
	opener := c.ring.NewOpener(shopScope, time.Now())
	for _, envelope := range p.Blobs {
		if claims, _, err := opener.Attribute(envelope); err == nil && claims.Name == name {
			return envelope
		}
	}
	c.t.Fatalf("no %s in the set", name)
	return ""
}

func (c *cluster) verifier() session.Verifier {
	return session.Verifier{Keys: c.ring, Policy: c.policy, Scope: shopScope, Store: c.store}
}
