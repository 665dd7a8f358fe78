package vectors_test

import (
	"context"
	"errors"
	"testing"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
	"github.com/sealedblob/sealedblob/vectors"
)

var outcomes = map[string]error{
	"success": nil, "malformed": seal.ErrMalformed, "unknown key": seal.ErrUnknownKey, "auth": seal.ErrAuth,
	"expired": policy.ErrExpired, "not yet valid": policy.ErrNotYetValid, "not allowed": policy.ErrNotAllowed, "binding": policy.ErrBinding,
}

func TestVectors(t *testing.T) {
	all, err := vectors.All()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := vectors.WriteKeys(dir); err != nil {
		t.Fatal(err)
	}
	ring, err := seal.LoadRing(dir, seal.InsecureSampleKeys())
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse(vectors.Policy())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, v := range all {
		want, known := outcomes[v.Expect]
		if !known {
			t.Errorf("%s expects %q, which is no outcome", v.Name, v.Expect)
		}
		seen[v.Expect]++
		t.Run(v.Name, func(t *testing.T) {
			if err := run(ring, p, v); !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%s (%s) = %v, want %v", v.Name, v.Comment, err, want)
			}
		})
	}
	for expect := range outcomes {
		if seen[expect] == 0 {
			t.Errorf("no vector expects %q", expect)
		}
	}
}

func run(ring *seal.Ring, p *policy.Policy, v vectors.Vector) error {
	scope := seal.Scope{App: v.App, Tenant: v.Tenant}
	if v.Purpose == "manifest" {
		_, _, err := ring.NewOpener(scope, v.Now).Manifest(v.Text)
		return err
	}
	var id seal.ID
	if v.Session != "" {
		var err error
		if id, err = seal.ParseID(v.Session); err != nil {
			return err
		}
	}
	_, err := session.Verifier{Keys: ring, Policy: p, Scope: scope}.Verify(context.Background(), v.Text, id, v.Now)
	return err
}
