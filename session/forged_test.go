package session_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// forgery is a set taken apart, to be sealed again with the real key: what a
// server with a fault could make. Each check must hold by itself, whatever the
// others would have caught.
type forgery struct {
	t        testing.TB
	manifest *seal.Manifest
	items    []*forgedItem
	sealer   *seal.Sealer
}

type forgedItem struct {
	claims *seal.Claims
	sealer *seal.Sealer // nil: that of the set
	slot   string       // where it is presented; empty: where it belongs
	entry  func(*seal.Entry)
}

func (f *forgery) item(name string) *forgedItem {
	return f.items[slices.IndexFunc(f.items, func(it *forgedItem) bool { return it.claims.Name == name })]
}

func (f *forgery) slot(name string) string { return slotOf(f.t, f.sealer, name) }

func slotOf(t testing.TB, s *seal.Sealer, name string) string {
	t.Helper()
	slot, err := s.Slot(name)
	must(t, err)
	return slot
}

func (c *cluster) sealer() *seal.Sealer {
	c.t.Helper()
	s, err := c.ring.NewSealer(shopScope, time.Now())
	must(c.t, err)
	return s
}

func (c *cluster) forge(p session.Presented, change func(*forgery)) session.Presented {
	c.t.Helper()
	opener := c.ring.NewOpener(shopScope, time.Now())
	m, _, err := opener.Manifest(p.Manifest)
	must(c.t, err)
	f := &forgery{t: c.t, manifest: m, sealer: c.sealer()}
	for _, envelope := range p.Blobs {
		claims, _, err := opener.Attribute(envelope)
		must(c.t, err)
		f.items = append(f.items, &forgedItem{claims: claims})
	}
	change(f)
	m.Entries, p.Blobs = nil, map[string]string{}
	for _, it := range f.items {
		sealer := f.sealer
		if it.sealer != nil {
			sealer = it.sealer
		}
		envelope, err := sealer.Attribute(it.claims)
		must(c.t, err)
		if it.slot == "" {
			it.slot = slotOf(c.t, sealer, it.claims.Name)
		}
		p.Blobs[it.slot] = envelope
		entry := seal.Entry{Slot: it.slot, JTI: it.claims.JTI, Expires: it.claims.Expires}
		if it.entry != nil {
			it.entry(&entry)
		}
		m.Entries = append(m.Entries, entry)
	}
	slices.SortFunc(m.Entries, func(a, b seal.Entry) int { return strings.Compare(a.Slot, b.Slot) })
	p.Manifest, err = f.sealer.Manifest(m)
	must(c.t, err)
	return p
}

func TestRestoreRefusesWhatOnlyAServerCouldMake(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	good := b.set(s.Holder())
	future := time.Now().Add(time.Hour).Unix()
	for name, test := range map[string]struct {
		change func(*forgery)
		want   error
	}{
		"manifest of another session": {func(f *forgery) { f.manifest.Session = seal.NewID() }, policy.ErrBinding},
		"another holder's manifest":   {func(f *forgery) { f.manifest.Binding = "cookie:" + strings.Repeat("A", 43) }, policy.ErrBinding},
		"manifest from the future": {func(f *forgery) {
			f.manifest.IssuedAt, f.manifest.Expires = future, future
		}, policy.ErrNotYetValid},
		"blob of another session": {func(f *forgery) { f.item("cart").claims.Session = seal.NewID() }, session.ErrIncomplete},
		"blob from the future": {func(f *forgery) {
			f.item("cart").claims.IssuedAt, f.item("cart").claims.Expires = future, future
		}, policy.ErrNotYetValid},
		"newer than the manifest":     {func(f *forgery) { f.item("cart").claims.Gen = f.manifest.Gen + 1 }, session.ErrIncomplete},
		"in the slot of another name": {func(f *forgery) { f.item("cart").slot = f.slot("pin") }, session.ErrIncomplete},
		"listed in another slot": {func(f *forgery) {
			f.item("cart").entry = func(e *seal.Entry) { e.Slot = f.slot("pin") }
		}, session.ErrIncomplete},
		"listed beside its slot": {func(f *forgery) { // in the same place among the others
			f.item("cart").entry = func(e *seal.Entry) {
				last := "a"
				if strings.HasSuffix(e.Slot, last) {
					last = "b"
				}
				e.Slot = e.Slot[:len(e.Slot)-1] + last
			}
		}, session.ErrIncomplete},
		"listed with another jti": {func(f *forgery) {
			f.item("cart").entry = func(e *seal.Entry) { e.JTI = seal.NewID() }
		}, session.ErrIncomplete},
		"listed with another end": {func(f *forgery) {
			f.item("cart").entry = func(e *seal.Entry) { e.Expires++ }
		}, session.ErrIncomplete},
		"one name twice": {func(f *forgery) {
			twin := *f.item("cart").claims
			twin.JTI = seal.NewID()
			f.items = append(f.items, &forgedItem{claims: &twin, sealer: c.sealer()})
		}, session.ErrIncomplete},
		"bytes": {func(f *forgery) { f.item("cart").claims.Binary = true }, seal.ErrMalformed},
		"a right that was none": {func(f *forgery) {
			cart := f.item("cart").claims
			cart.Once, cart.UID, cart.AbsoluteExpires = true, seal.NewID(), cart.Expires
		}, policy.ErrNotAllowed},
		"a right that is none any more": {func(f *forgery) {
			f.item("ticket").claims.Once, f.item("ticket").claims.UID = false, seal.ID{}
		}, policy.ErrNotAllowed},
		"an undeclared name": {func(f *forgery) { f.item("cart").claims.Name = "admin" }, policy.ErrNotAllowed},
	} {
		spy := c.spied()
		r, err := c.node().Restore(t.Context(), c.forge(good, test.change))
		if r.Session != nil || !errors.Is(err, test.want) || session.Outward(err) != session.ErrRejected {
			t.Errorf("%s: Restore = %v, %v; want %v", name, r.Session, err, test.want)
		}
		if len(spy.restores) != 0 {
			t.Errorf("%s: the store was asked", name)
		}
	}
	if r, err := c.node().Restore(t.Context(), c.forge(good, func(*forgery) {})); err != nil || len(r.Session.Attributes()) != 3 {
		t.Errorf("sealed again without a change: %v", err)
	}
}

// An envelope that the manifest does not list is refused, wherever its slot
// would stand.
func TestUnlistedEnvelopeIsRefused(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	for _, slot := range []string{"------------", "AAAAAAAAAAAA", "zzzzzzzzzzzz"} {
		p := b.set(s.Holder())
		p.Blobs[slot] = c.envelopeOf(p, "cart")
		if r, err := c.node().Restore(t.Context(), p); r.Session != nil || !errors.Is(err, session.ErrIncomplete) {
			t.Errorf("in slot %s: Restore = %v, %v", slot, r.Session, err)
		}
	}
}

// An envelope's own absolute end counts, whatever its exp says.
func TestAbsoluteEndOutranksExp(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	r, err := c.node().Restore(t.Context(), c.forge(b.set(s.Holder()), func(f *forgery) {
		cart := f.item("cart").claims
		cart.IssuedAt -= 100
		cart.AbsoluteExpires = time.Now().Unix() - 10
	}))
	must(t, err)
	if len(r.Dropped) != 1 || r.Dropped[0].Name != "cart" || !errors.Is(r.Dropped[0].Reason, policy.ErrExpired) {
		t.Errorf("dropped %v, want the cart", r.Dropped)
	}
}

// A cookie that mixes the id of one session with the secret of another holds
// neither of them.
func TestCookieOfTwoSessions(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s1, b1 := shopping(t, m)
	s2, _ := shopping(t, m)
	secret := strings.Split(session.CookieValueForTest(s1.Holder()), ".")[1]
	r := request("GET", "/")
	r.Header.Set("Cookie", fmt.Sprintf("%s=%s.%s.0", session.LoopbackCookieName, s2.ID(), secret))
	h, ok := m.Holder(r)
	if !ok || h.Session != s2.ID() {
		t.Fatalf("Holder = %v, %t", h, ok)
	}
	if _, err := c.node().Restore(t.Context(), b1.set(h)); !errors.Is(err, policy.ErrBinding) {
		t.Errorf("Restore = %v, want ErrBinding", err)
	}
	if _, live := m.Live(h); live {
		t.Error("a live session was handed out")
	}
}
