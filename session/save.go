package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// Push is what a client is told: a new set, the difference to the set it
// holds, or the end of the session.
type Push struct {
	Version Version
	// Delta says that Set and Del apply only to the set Base; otherwise Set is
	// complete and replaces everything.
	Delta bool
	Base  Version
	// Over, in a complete set, is the newest version that a client may hold of the
	// session that was renewed into this one: the set replaces it, though its own
	// version is lower. Zero: none.
	Over     Version
	Manifest string
	Set      map[string]string // envelope by slot
	Del      []string          // slots
	End      bool              // the session is over; nothing else is set but Version
}

// Client is a connected client that carries the session's sealed set.
// Its methods must not block and must not call back into the session.
type Client interface {
	// Push sends p, or loses it: what the client acknowledges next decides
	// whether it is sent again. It must not change p's maps, which are the session's too.
	Push(p Push)
	// Detached says that the session no longer lives here.
	Detached()
	// Renewed says that the session goes on as s, under another ID, and that the
	// client is attached to it no longer: it may be of somebody who knew the former
	// cookie alone. Have it shake hands, and attach it when it showed the cookie of s.
	Renewed(s *Session)
}

// replica is the newest sealed set and what changed since.
type replica struct {
	sealer   *seal.Sealer
	shared   bool // other sessions use the sealer too
	manifest string
	set      map[string]string // envelope by slot, exactly as the manifest lists
	sealedAt time.Time
	dirty    bool     // the manifest must be sealed again
	full     bool     // the next push must be complete: the slots are new
	removed  []string // slots that left the set since
}

func (r *replica) gone(slot string) {
	r.dirty = true
	if slot != "" {
		r.removed = append(r.removed, slot)
	}
}

func (r *replica) wipe() {
	if r.sealer != nil && !r.shared {
		r.sealer.Wipe()
	}
	r.sealer = nil
}

// Save seals what is dirty, with a new manifest one generation on, and pushes
// it to every connected client. It does nothing if nothing changed. The
// middleware calls it at the end of each request. After an error the changes
// stay dirty and clients hold the older set.
func (s *Session) Save(ctx context.Context) error {
	ring, err := s.m.cfg.Keys.Ring(ctx)
	if err != nil {
		return fmt.Errorf("%w: keyring: %w", ErrUnavailable, err)
	}
	if err := s.changing.wait(ctx); err != nil {
		return err
	}
	defer s.changing.done()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	now := s.m.now()
	s.expire(now)
	if err := s.renewSealer(ring, now); err != nil || !s.changed(now) {
		return err
	}
	base := s.version
	p := Push{Version: Version{Fence: base.Fence, Gen: base.Gen + 1}, Base: base, Delta: !s.replica.full, Set: make(map[string]string, len(s.attrs))}
	if !p.Delta {
		p.Over = s.replaces()
	}
	if err := s.seal(now, &p); err != nil {
		return err
	}
	for c := range s.clients {
		c.Push(p)
	}
	return nil
}

// expire lets attributes past their time fall out of the set.
func (s *Session) expire(now time.Time) {
	for name, a := range s.attrs {
		if a.expired(now) {
			s.drop(name)
		}
	}
}

// renewSealer takes a new sealer when there is none or when its key is no
// longer primary; then everything is sealed again.
func (s *Session) renewSealer(ring *seal.Ring, now time.Time) error {
	primary, err := ring.Primary(now)
	if err != nil {
		return err
	}
	if s.replica.sealer != nil && s.replica.sealer.KeyID() == primary.ID() {
		return nil
	}
	if s.replica.sealer == nil && !s.changed(now) {
		return nil // nothing was ever set
	}
	return s.freshSealer(ring, now)
}

func (s *Session) freshSealer(ring *seal.Ring, now time.Time) error {
	sealer, err := s.m.sealer(ring, now)
	if err != nil {
		return err
	}
	s.replica.wipe()
	s.replica.shared = s.m.shared != nil
	s.replica.sealer, s.replica.dirty, s.replica.full, s.replica.removed = sealer, true, true, nil
	for _, a := range s.attrs {
		a.dirty, a.slot = !a.local, ""
	}
	return nil
}

// changed reports whether there is something to seal. A manifest's idle expiry
// is moved in steps of a quarter of the idle time.
func (s *Session) changed(now time.Time) bool {
	for _, a := range s.attrs {
		if a.dirty {
			return true
		}
	}
	return s.replica.dirty || s.replica.manifest != "" && s.used.Sub(s.replica.sealedAt) >= s.m.cfg.Policy.Session().Idle/4
}

// seal makes generation p.Version and fills p. Nothing of s changes on error.
func (s *Session) seal(now time.Time, p *Push) error {
	type made struct {
		of   *attribute
		slot string
		jti  seal.ID
	}
	matters := s.replica.dirty
	fresh, set := make([]made, 0, len(s.attrs)), p.Set
	if p.Delta { // a complete set is the same for the client and for us, and nobody changes it
		set = make(map[string]string, len(s.attrs))
	}
	m := &seal.Manifest{
		Session: s.id, Subject: s.login.subject, SubjectSince: s.login.since, Fence: p.Version.Fence, Gen: p.Version.Gen, IssuedAt: s.sealedAs(now).Unix(),
		Expires:         earlier(now.Add(s.m.cfg.Policy.Session().Idle), s.absolute).Unix(),
		AbsoluteExpires: s.absolute.Unix(), Binding: joinBinding(s.binding, s.key), Policy: s.m.cfg.Policy.Version(),
		Entries: make([]seal.Entry, 0, len(s.attrs)),
	}
	for name, a := range s.attrs {
		if a.local {
			continue
		}
		slot, jti := a.slot, a.jti
		if a.dirty {
			matters = matters || a.jti == (seal.ID{})
			var err error
			if slot, err = s.replica.sealer.Slot(name); err != nil {
				return err
			}
			jti = seal.NewID()
			envelope, err := s.replica.sealer.Attribute(s.claims(name, a, jti, p.Version.Gen))
			if err != nil {
				return s.sealError(err)
			}
			fresh = append(fresh, made{a, slot, jti})
			p.Set[slot], set[slot] = envelope, envelope
		} else {
			set[slot] = s.replica.set[slot]
		}
		m.Entries = append(m.Entries, seal.Entry{Slot: slot, JTI: jti, Expires: a.expires.Unix()})
	}
	slices.SortFunc(m.Entries, func(a, b seal.Entry) int { return strings.Compare(a.Slot, b.Slot) })
	manifest, err := s.replica.sealer.Manifest(m)
	if err != nil {
		return s.sealError(err)
	}
	for _, f := range fresh {
		f.of.slot, f.of.jti, f.of.dirty, f.of.shown = f.slot, f.jti, false, true
	}
	p.Manifest, p.Del = manifest, s.removedFromSet(p)
	if s.version = p.Version; matters {
		s.matters = p.Version
	}
	s.replica.manifest, s.replica.set, s.replica.sealedAt = manifest, set, now
	s.replica.dirty, s.replica.full, s.replica.removed = false, false, nil
	return nil
}

// sealError gives up an exhausted sealer: the next Save takes a new one, and
// new slots with it.
func (s *Session) sealError(err error) error {
	if errors.Is(err, seal.ErrExhausted) {
		s.replica.wipe()
	}
	return fmt.Errorf("session: sealing: %w", err)
}

// removedFromSet lists the slots to delete; a slot that is set again stays.
func (s *Session) removedFromSet(p *Push) (del []string) {
	if !p.Delta {
		return nil
	}
	for _, slot := range s.replica.removed {
		if _, again := p.Set[slot]; !again && !slices.Contains(del, slot) {
			del = append(del, slot)
		}
	}
	return del
}

func (s *Session) claims(name string, a *attribute, jti seal.ID, gen uint64) *seal.Claims {
	c := &seal.Claims{
		JTI: jti, UID: a.uid, Once: a.uid != seal.ID{}, IssuedAt: a.issued.Unix(), Expires: a.expires.Unix(),
		Session: s.id, Gen: gen, Name: name, Policy: s.m.cfg.Policy.Version(), Value: a.value,
	}
	if !a.absolute.IsZero() {
		c.AbsoluteExpires = a.absolute.Unix()
	}
	rule, _ := s.m.cfg.Policy.Rule(name)
	c.Pad = padding(rule)
	return c
}

// whole is the newest sealed set in full, whatever changed since. s.mu is held.
func (s *Session) whole() Push {
	return Push{Version: s.version, Over: s.replaces(), Manifest: s.replica.manifest, Set: maps.Clone(s.replica.set)}
}

// newest is the newest version that a client may hold of this ID or a former one:
// a client that was away may have seen none of the last renewals. s.mu is held.
func (s *Session) newest() Version {
	if s.version.Less(s.former) {
		return s.former
	}
	return s.version
}

// replaces is the newest version of the session's former ID, if its own
// versions are not above it. s.mu is held.
func (s *Session) replaces() Version {
	if s.former.Fence > s.version.Fence {
		return s.former
	}
	return Version{}
}
