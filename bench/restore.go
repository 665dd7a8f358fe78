package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// catcher is a client that keeps the set it is given.
type catcher struct{ last session.Push }

func (c *catcher) Push(p session.Push)      { c.last = p }
func (c *catcher) Detached()                {}
func (c *catcher) Renewed(*session.Session) {}

func (k *kit) manager() (*session.Manager, error) {
	return session.New(context.Background(), session.Config{Keys: k.ring, Policy: k.policy, Store: replay.None{}, App: k.scope.App})
}

// present makes a session with its attributes on a node of its own, and returns
// the set that its client would carry elsewhere.
func (k *kit) present(m *session.Manager, value []byte) (session.Presented, error) {
	s, err := m.Start()
	if err != nil {
		return session.Presented{}, err
	}
	for _, name := range k.names {
		if err := s.Set(context.Background(), name, rawJSON(value)); err != nil {
			return session.Presented{}, err
		}
	}
	c := &catcher{}
	if err := s.Attach(c); err != nil {
		return session.Presented{}, err
	}
	if err := s.Save(context.Background()); err != nil {
		return session.Presented{}, err
	}
	return session.Presented{Holder: s.Holder(), Attempt: replay.Owner(seal.NewID()), Manifest: c.last.Manifest, Blobs: c.last.Set}, nil
}

// rawJSON is a value that is JSON already.
type rawJSON []byte

// MarshalJSON implements json.Marshaler.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

func wire(p session.Presented) int {
	n := len(p.Manifest)
	for _, text := range p.Blobs {
		n += len(text)
	}
	return n
}

// manifestBytes is how many bytes a manifest's envelope holds.
func manifestBytes(manifest string) int { return len(strings.Split(manifest, ".")[3]) * 3 / 4 }

const sessions = 256 // different ones that are restored in turn

// presented makes the sets of different sessions.
func (k *kit) presented(value []byte) (sets []session.Presented, err error) {
	home, err := k.manager()
	if err != nil {
		return nil, err
	}
	for range sessions {
		p, err := k.present(home, value)
		if err != nil {
			return nil, err
		}
		sets = append(sets, p)
	}
	return sets, nil
}

// restores brings different sessions to life on one node, then begins again on
// an empty one, with a store that remembers nothing. With push it also seals the
// set anew for this node, under a fresh salt and the new fence, as the first
// connect after a restore does.
func (k *kit) restores(sets []session.Presented, push bool) contender {
	var node *session.Manager
	next := 0
	restore := func() (err error) {
		if next%sessions == 0 {
			if node, err = k.manager(); err != nil {
				return err
			}
		}
		r, err := node.Restore(context.Background(), sets[next%sessions])
		next++
		switch {
		case err != nil:
			return err
		case r.Joined || len(r.Dropped) > 0:
			return fmt.Errorf("not restored: joined=%t, %d dropped", r.Joined, len(r.Dropped))
		case push:
			return r.Session.Save(context.Background())
		}
		return nil
	}
	name := "session"
	if push {
		name = "session+push"
	}
	return contender{system: name, expiry: true, wire: wire(sets[0]), op: restore}
}

// attributesOf opens and judges a whole set, with an opener of its own as a
// restore has, and stops there.
func (k *kit) attributesOf(p session.Presented) contender {
	var c seal.Claims
	room := make([]byte, 0, seal.MaxEnvelope)
	return contender{system: "attribute", expiry: true, wire: wire(p), op: func() error {
		now := time.Now()
		opener := k.ring.NewOpener(k.scope, now)
		defer opener.Wipe()
		m, _, err := opener.Manifest(p.Manifest)
		if err != nil {
			return err
		}
		f := policy.SessionFacts{
			Now: now, IssuedAt: time.Unix(m.IssuedAt, 0), Expires: time.Unix(m.Expires, 0),
			AbsoluteExpires: time.Unix(m.AbsoluteExpires, 0), Bound: true, Attributes: len(p.Blobs),
		}
		for _, text := range p.Blobs {
			if _, _, err := opener.AppendAttribute(room, &c, text); err != nil {
				return err
			}
			if err := k.judge(&c, now); err != nil {
				return err
			}
			f.Bytes += len(c.Value)
		}
		if d := k.policy.JudgeSession(f); d.Verdict != policy.AcceptAttribute {
			return d.Err()
		}
		return nil
	}}
}
