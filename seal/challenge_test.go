package seal_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/seal"
)

// A challenge is good for its own application, tenant, session and ring, and in
// one spelling alone.
func TestChallenge(t *testing.T) {
	ring, scope, session := testkit.Ring(t), seal.Scope{App: "shop", Tenant: "a"}, seal.NewID()
	now := time.Now().Truncate(time.Second)
	text, err := ring.Challenge(scope, session, now)
	if err != nil || len(text) != seal.ChallengeLen {
		t.Fatalf("%q, %v", text, err)
	}
	made, err := ring.ChallengeTime(scope, session, text)
	if err != nil || !made.Equal(now) {
		t.Fatalf("made at %v, %v; want %v", made, err, now)
	}
	for name, c := range map[string]struct {
		ring    *seal.Ring
		scope   seal.Scope
		session seal.ID
		want    error
	}{
		"another application": {ring, seal.Scope{App: "shoq", Tenant: "a"}, session, seal.ErrAuth},
		"another tenant":      {ring, seal.Scope{App: "shop"}, session, seal.ErrAuth},
		"another session":     {ring, scope, seal.NewID(), seal.ErrAuth},
		"another ring":        {testkit.Ring(t), scope, session, seal.ErrUnknownKey},
	} {
		if _, err := c.ring.ChallengeTime(c.scope, c.session, text); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for what, other := range testkit.Neighbours(text, "\x00\n =.A_") {
		if _, err := ring.ChallengeTime(scope, session, other); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if _, err := ring.ChallengeTime(scope, session, ""); !errors.Is(err, seal.ErrMalformed) {
		t.Errorf("nothing: %v", err)
	}
}
