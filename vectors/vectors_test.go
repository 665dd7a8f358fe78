package vectors_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

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
	seen, read := map[string]int{}, 0
	for _, v := range all {
		want, known := outcomes[v.Expect]
		if !known {
			t.Errorf("%s expects %q, which is no outcome", v.Name, v.Expect)
		}
		seen[v.Expect]++
		t.Run(v.Name, func(t *testing.T) {
			got, err := run(ring, p, v)
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Fatalf("%s (%s) = %v, want %v", v.Name, v.Comment, err, want)
			}
			if err != nil {
				return
			}
			if want := (content{v.Claims, v.Manifest, v.Value, v.Binary, v.Stale}); !reflect.DeepEqual(got, want) {
				t.Errorf("%s (%s) reads as %s, want %s", v.Name, v.Comment, got, want)
			}
			read++
		})
	}
	for expect := range outcomes {
		if seen[expect] == 0 {
			t.Errorf("no vector expects %q", expect)
		}
	}
	t.Logf("%d vectors, %d of them read and compared", len(all), read)
	if read == 0 || read != seen["success"] {
		t.Errorf("%d of %d good vectors were read", read, seen["success"])
	}
}

// content is what was read, in the words of package vectors.
type content struct {
	Claims   *vectors.Claims
	Manifest *vectors.Manifest
	Value    []byte
	Binary   bool
	Stale    bool
}

func (c content) String() string {
	return fmt.Sprintf("%+v %+v %q (binary %t, stale %t)", c.Claims, c.Manifest, c.Value, c.Binary, c.Stale)
}

func run(ring *seal.Ring, p *policy.Policy, v vectors.Vector) (content, error) {
	scope := seal.Scope{App: v.App, Tenant: v.Tenant}
	if v.Purpose == "manifest" {
		m, opened, err := ring.NewOpener(scope, v.Now).Manifest(v.Text)
		if err != nil {
			return content{}, err
		}
		if v.Session != "" && m.Session.String() != v.Session {
			return content{}, policy.ErrBinding
		}
		return manifestContent(m, opened), p.JudgeSession(policy.SessionFacts{
			Now: v.Now, IssuedAt: time.Unix(m.IssuedAt, 0), Expires: time.Unix(m.Expires, 0),
			AbsoluteExpires: time.Unix(m.AbsoluteExpires, 0), Bound: true, Attributes: len(m.Entries),
		}).Err()
	}
	var id seal.ID
	if v.Session != "" {
		var err error
		if id, err = seal.ParseID(v.Session); err != nil {
			return content{}, err
		}
	}
	purpose := seal.ForAttribute
	if v.Purpose == "grant" {
		purpose = seal.ForGrant
	}
	out, err := session.Verifier{Keys: ring, Policy: p, Scope: scope, Purpose: purpose}.Verify(context.Background(), v.Text, id, v.Now)
	if err != nil {
		return content{}, err
	}
	return claimsContent(out.Claims, out.Opened), nil
}

func claimsContent(c *seal.Claims, opened seal.Opened) content {
	claims := &vectors.Claims{
		JTI: c.JTI.String(), IAT: c.IssuedAt, EXP: c.Expires, AXP: c.AbsoluteExpires, SID: c.Session.String(),
		Gen: c.Gen, Name: c.Name, PV: c.Policy, Once: c.Once, Pad: c.Pad,
	}
	if c.UID != (seal.ID{}) {
		claims.UID = c.UID.String()
	}
	return content{Claims: claims, Value: c.Value, Binary: c.Binary, Stale: opened.Stale}
}

func manifestContent(m *seal.Manifest, opened seal.Opened) content {
	out := &vectors.Manifest{
		SID: m.Session.String(), Sub: m.Subject, SAT: m.SubjectSince, Fence: m.Fence, Gen: m.Gen, IAT: m.IssuedAt, EXP: m.Expires,
		AXP: m.AbsoluteExpires, BND: m.Binding, PV: m.Policy, Set: []vectors.Entry{},
	}
	for _, e := range m.Entries {
		out.Set = append(out.Set, vectors.Entry{Slot: e.Slot, JTI: e.JTI.String(), EXP: e.Expires})
	}
	return content{Manifest: out, Stale: opened.Stale}
}
