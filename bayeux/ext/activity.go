package ext

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// ActivityKind says whose messages show that a session is active. A connect
// never does: clients send it by themselves.
type ActivityKind int

// The kinds of activity.
const (
	// ClientActivity: what the client sends.
	ClientActivity ActivityKind = iota
	// ClientServerActivity: that, and what is delivered to it.
	ClientServerActivity
)

// Activity ends sessions of which nothing but connects was heard for a while,
// with the advice not to come back. It looks at each connect, so that a session
// may last longer by the time that a connect is held.
type Activity struct {
	bystander
	max  time.Duration
	kind ActivityKind
}

// NewActivity returns an Activity that ends sessions after max without activity
// of this kind. It returns an error unless max is positive and kind is known.
func NewActivity(maxInactivity time.Duration, kind ActivityKind) (*Activity, error) {
	if maxInactivity <= 0 {
		return nil, errors.New("ext: time without activity is not positive")
	}
	if kind < ClientActivity || kind > ClientServerActivity {
		return nil, errors.New("ext: unknown kind of activity")
	}
	return &Activity{max: maxInactivity, kind: kind}, nil
}

// Handshake implements bayeux.HandshakeHook.
func (a *Activity) Handshake(_ context.Context, h *bayeux.Handshake) {
	w := &watch{Activity: a, began: time.Now()}
	h.Session.AddExtension(w)
}

// watch is the extension of one session.
type watch struct {
	*Activity
	began time.Time
	last  atomic.Int64 // nanoseconds since began: a clock that is set ends no session
}

func (w *watch) seen() { w.last.Store(int64(time.Since(w.began))) }

// Incoming implements bayeux.Extension.
func (w *watch) Incoming(_ context.Context, from *bayeux.ServerSession, m *bayeux.Message) bool {
	switch {
	case m.Channel != bayeux.MetaConnect:
		w.seen()
	case time.Since(w.began)-time.Duration(w.last.Load()) > w.max:
		from.Disconnect()
	}
	return true
}

// Outgoing implements bayeux.Extension.
func (w *watch) Outgoing(_ *bayeux.ServerSession, m *bayeux.Message) bool {
	if w.kind == ClientServerActivity && m.Successful == nil {
		w.seen()
	}
	return true
}
