package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// Whatever was set, deleted and set again between two pushes: the browser ends
// up with exactly the set that the manifest lists.
func TestPushedSetsRestore(t *testing.T) {
	type step func(t *testing.T, s *session.Session)
	set := func(name string) step {
		return func(t *testing.T, s *session.Session) { must(t, s.Set(t.Context(), name, "v")) }
	}
	del := func(name string) step {
		return func(t *testing.T, s *session.Session) { must(t, s.Delete(t.Context(), name)) }
	}
	save := func(t *testing.T, s *session.Session) { must(t, s.Save(t.Context())) }
	for name, steps := range map[string][]step{
		"deleted":                        {del("login"), save},
		"replaced, then deleted":         {set("login"), del("login"), save},
		"deleted, then set":              {del("login"), set("login"), save},
		"deleted, set, deleted":          {del("login"), set("login"), del("login"), save},
		"deleted, and much later set":    {del("login"), save, set("login"), save, set("cart"), save},
		"deleted twice":                  {del("login"), set("login"), save, del("login"), save, set("cart"), save},
		"set and deleted, never sealed":  {set("pin"), del("pin"), save},
		"everything deleted":             {del("login"), del("cart"), del("ticket"), save},
		"nothing there was deleted":      {del("pin"), save},
		"everything replaced":            {set("login"), set("cart"), set("ticket"), save},
		"all deleted, one set, and over": {del("login"), del("cart"), del("ticket"), save, set("note"), save, set("cart"), save},
	} {
		c := newCluster(t)
		s, b := shopping(t, c.node())
		for _, do := range steps {
			do(t, s)
		}
		for _, p := range b.pushes[1:] {
			if !p.Delta || p.Base.Gen+1 != p.Version.Gen {
				t.Errorf("%s: pushed %v on %v, delta %t", name, p.Version, p.Base, p.Delta)
			}
			for _, slot := range p.Del {
				if _, both := p.Set[slot]; both {
					t.Errorf("%s: a slot is set and deleted", name)
				}
			}
		}
		want := len(s.Attributes())
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		if err != nil || len(r.Session.Attributes()) != want || len(b.blobs) != want {
			t.Errorf("%s: %v; the browser holds %d of %d", name, err, len(b.blobs), want)
		}
	}
}

// rotating is a keyring that is exchanged while the program runs.
type rotating struct{ ring *seal.Ring }

func (r *rotating) Ring(context.Context) (*seal.Ring, error) { return r.ring, nil }

// A session of which only the subject is known is sealed under the new key too,
// and what was deleted meanwhile stays deleted.
func TestRotationSealsEverySession(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	ring, err := seal.InitRing(dir, seal.A256GCM, time.Now())
	must(t, err)
	keys := &rotating{ring}
	m, err := session.New(t.Context(), session.Config{Keys: keys, Policy: c.policy, Store: c.store, App: "shop"})
	must(t, err)
	bare, err := m.Start()
	must(t, err)
	bare = login(t, bare, "ada")
	must(t, bare.Save(t.Context()))
	bb := connected(t, bare)
	s, b := shopping(t, m)
	s.Delete(t.Context(), "login")
	keys.ring, err = seal.UnsafeRotateRing(t.Context(), dir, seal.A256CBCHS512, time.Now(), time.Now())
	must(t, err)
	primary, err := keys.ring.Primary(time.Now())
	must(t, err)
	for name, test := range map[string]struct {
		s *session.Session
		b *browser
		n int
	}{"the bare one": {bare, bb, 0}, "the one with attributes": {s, b, 2}} {
		must(t, test.s.Save(t.Context()))
		last := test.b.pushes[len(test.b.pushes)-1]
		if last.Delta || len(last.Set) != test.n || len(last.Del) != 0 {
			t.Errorf("%s: pushed %d envelopes, %d deletions, delta %t; want a complete set of %d", name, len(last.Set), len(last.Del), last.Delta, test.n)
		}
		for _, envelope := range append(slices.Collect(mapValues(test.b.blobs)), test.b.manifest) {
			if seen, err := seal.InspectUnverified(envelope); err != nil || seen.KeyID != primary.ID() {
				t.Errorf("%s: an envelope is under %s, %v; want %s", name, seen.KeyID, err, primary.ID())
			}
		}
		c.ring = keys.ring
		r, err := c.node().Restore(t.Context(), test.b.set(test.s.Holder()))
		if err != nil || len(r.Session.Attributes()) != test.n {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mapValues(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// The manifest says what the session is, and never what would give it away.
func TestManifestOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		time.Sleep(pastEpoch)
		m := c.node()
		s, err := m.Start()
		must(t, err)
		s = login(t, s, "ada")
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		end := s.Expires().Unix()
		check := func(subject string) *seal.Manifest {
			t.Helper()
			got, _, err := c.ring.NewOpener(shopScope, time.Now()).Manifest(b.manifest)
			must(t, err)
			now := time.Now().Unix()
			if got.Session != s.ID() || got.Subject != subject || got.IssuedAt != now || got.Expires != min(now+1800, end) || got.AbsoluteExpires != end || got.Policy != c.policy.Version() {
				t.Errorf("manifest %+v; want subject %s, issued at %d, ends %d and %d", got, subject, now, min(now+1800, end), end)
			}
			if got.Fence != s.Version().Fence || got.Gen != s.Version().Gen || got.Gen == 0 {
				t.Errorf("manifest of %d.%d, the session is at %v", got.Fence, got.Gen, s.Version())
			}
			return got
		}
		first := check("ada")
		secret := strings.Split(session.CookieValueForTest(s.Holder()), ".")[1]
		if strings.Contains(first.Binding, secret) || !strings.HasPrefix(first.Binding, "cookie:") || len(first.Binding) != len("cookie:")+43 {
			t.Errorf("the binding is %s, the secret %s", first.Binding, secret)
		}
		time.Sleep(time.Minute)
		s = b.login(t, s, "grace")
		must(t, s.Save(t.Context()))
		check("grace")
		for range 71 { // up to ten minutes before the end
			time.Sleep(10 * time.Minute)
			must(t, s.Acknowledge(t.Context(), b, b.version))
		}
		time.Sleep(time.Until(s.Expires().Add(-8 * time.Minute)))
		s = b.login(t, s, "last")
		must(t, s.Save(t.Context()))
		check("last")
	})
}

// The generation in an envelope is the one in which it was sealed.
func TestGenerationOfAnEnvelope(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	must(t, s.Set(t.Context(), "note", "n"))
	must(t, s.Save(t.Context()))
	for name, want := range map[string]uint64{"cart": 1, "note": 2} {
		claims, _, err := c.ring.NewOpener(shopScope, time.Now()).Attribute(c.envelopeOf(b.set(s.Holder()), name))
		if err != nil || claims.Gen != want {
			t.Errorf("%s was sealed in generation %d, %v; want %d", name, claims.Gen, err, want)
		}
	}
}

// What could not be sealed is refused when it is set, and changes nothing.
func TestSetRefusesWhatCantBeSealed(t *testing.T) {
	c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h","max_attributes":2,"max_bytes":20},"attributes":{"a":{},"b":{},"c":{}}}`)
	s, err := c.node().Start()
	must(t, err)
	must(t, s.Set(t.Context(), "a", "0123456789"))
	for name, test := range map[string]struct {
		attribute string
		value     any
		want      error
	}{
		"too deep":            {"b", json.RawMessage(strings.Repeat("[", 17) + strings.Repeat("]", 17)), policy.ErrNotAllowed},
		"a member twice":      {"b", json.RawMessage(`{"a":1,"a":2}`), policy.ErrNotAllowed},
		"too many bytes":      {"b", "0123456", session.ErrTooLarge},
		"too many, replacing": {"a", "01234567890123456789", session.ErrTooLarge},
		"undeclared":          {"d", 1, policy.ErrNotAllowed},
	} {
		if err := s.Set(t.Context(), test.attribute, test.value); !errors.Is(err, test.want) {
			t.Errorf("%s: Set = %v, want %v", name, err, test.want)
		}
	}
	must(t, s.Set(t.Context(), "a", "012345678901234567")) // its own old bytes don't count
	must(t, s.Set(t.Context(), "a", "0"))
	must(t, s.Set(t.Context(), "b", 1))
	if err := s.Set(t.Context(), "c", 1); !errors.Is(err, session.ErrTooLarge) {
		t.Errorf("a third attribute of two: %v", err)
	}
	must(t, s.Save(t.Context()))
}

// A request that ends with its client gone is sealed all the same, and a use
// of the session.
func TestSaveAfterTheClientLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m := c.node()
		s, b := shopping(t, m)
		h := m.Middleware(http.HandlerFunc(handler))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := request("GET", "/?cart=late", cookieOf(t, s.Holder())).WithContext(ctx)
		do(h, r)
		if last := b.pushes[len(b.pushes)-1]; last.Version.Gen != 2 {
			t.Errorf("the newest push is %v, want generation 2", last.Version)
		}
		for range 5 {
			time.Sleep(20 * time.Minute)
			if res := do(h, request("GET", "/", cookieOf(t, s.Holder()))); res.StatusCode != 200 {
				t.Fatalf("a session in use: %d", res.StatusCode)
			}
		}
	})
}
