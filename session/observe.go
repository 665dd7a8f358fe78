package session

import (
	"context"
	"errors"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// Observer is told what becomes of sessions, for metrics and audit trails; see
// [NewAudit], and adapters/prometheus and adapters/otel. Observe is called from
// many goroutines at once, in the middle of what it tells of: it must be quick,
// must not wait, panic or call back into a manager or session. The context is
// that of the operation, for its trace.
type Observer interface {
	Observe(ctx context.Context, e Event)
}

// Observers tells each of several observers, in their order.
type Observers []Observer

// Observe implements Observer.
func (o Observers) Observe(ctx context.Context, e Event) {
	for _, each := range o {
		each.Observe(ctx, e)
	}
}

// Event is one thing that happened. It holds no value, key, cookie or sealed
// text, and nothing that a client chose but the six characters of Session. All
// members but Session, Duration and Count are from closed sets or from the
// policy, and fit for labels of a metric.
type Event struct {
	Kind   Kind
	Result Result
	// Reason is why the result is not what was asked for; empty if it is.
	Reason Reason
	// Session is the start of a session's id, as in log lines: six characters of
	// base64url. It is empty where there is none. Before a restore was granted it
	// is only what the cookie says. Never make it a label.
	Session string
	// Attribute is a name that the policy declares, for [KindDropped], [KindTake]
	// and [KindGrant].
	Attribute string
	// Operation is the method of replay.Store, in lower case with underscores,
	// for [KindStore].
	Operation string
	// Duration is how long it took, for [KindRestore], [KindEarly] and [KindStore].
	Duration time.Duration
	// Count is the number of sessions, for [KindDrain].
	Count int
}

// Kind is what an event is about.
type Kind string

// The kinds of events.
const (
	// KindRestore: a set was presented. Granted, joined (the session lives here
	// already), refused or unavailable.
	KindRestore Kind = "restore"
	// KindDropped: a restored session goes on without an attribute. Dropped.
	KindDropped Kind = "dropped"
	// KindEarly: a request came before its session, and waited. Granted if the
	// session came, else unavailable.
	KindEarly Kind = "early"
	// KindTake: a right of a session was to be spent. Granted, refused (with
	// [ReasonReplayed] if it was spent before) or unavailable.
	KindTake Kind = "take"
	// KindGrant: a right outside a session was to be spent. As KindTake.
	KindGrant Kind = "grant"
	// KindRenew: a session was to get a new id, for a login or by itself. Granted,
	// refused or unavailable.
	KindRenew Kind = "renew"
	// KindLogout: a session was to end everywhere. Granted or unavailable.
	KindLogout Kind = "logout"
	// KindEndLogins: all sessions of a subject were to end. Granted, refused or unavailable.
	KindEndLogins Kind = "end_logins"
	// KindUnsealed: a request's changes were not sealed. Refused if they are
	// lost, because the session moved; unavailable if it is tried again.
	KindUnsealed Kind = "unsealed"
	// KindDrain: a drain ended. One event for the sessions that left with
	// everything, granted; one for the others if there are any, unacknowledged.
	KindDrain Kind = "drain"
	// KindStore: the store was asked. Granted if it answered, whatever it
	// answered; refused if it can never say yes; unavailable if it could not tell.
	KindStore Kind = "store"
	// KindCircuit: the circuit of the store's [replay.Guard] opened, unavailable for
	// the reason of the last call that failed, or closed again, granted.
	KindCircuit Kind = "circuit"
)

// Result is how it ended.
type Result string

// The results.
const (
	ResultGranted        Result = "granted"
	ResultJoined         Result = "joined"
	ResultDropped        Result = "dropped"
	ResultRefused        Result = "refused"     // for good; outside: [ErrRejected]
	ResultUnavailable    Result = "unavailable" // we could not tell; outside: [ErrUnavailable]
	ResultUnacknowledged Result = "unacknowledged"
)

// Reason is the class of an error.
type Reason string

// The reasons. Those of refusals are named after their errors.
const (
	ReasonMalformed     Reason = "malformed"
	ReasonUnknownKey    Reason = "unknown_key"
	ReasonNotAuthentic  Reason = "not_authentic"
	ReasonExpired       Reason = "expired"
	ReasonNotYetValid   Reason = "not_yet_valid"
	ReasonBinding       Reason = "binding"
	ReasonNotAllowed    Reason = "not_allowed"
	ReasonIncomplete    Reason = "incomplete"
	ReasonSuperseded    Reason = "superseded"
	ReasonRolledBack    Reason = "rolled_back"
	ReasonRevoked       Reason = "revoked"
	ReasonReplayed      Reason = "replayed"
	ReasonBeforeEpoch   Reason = "before_epoch"
	ReasonBeyondHorizon Reason = "beyond_horizon"
	ReasonNoAttribute   Reason = "no_attribute"
	ReasonEnded         Reason = "ended"
	ReasonMoved         Reason = "moved"
	ReasonTooLate       Reason = "too_late"

	ReasonProof       Reason = "proof_required"
	ReasonStoreFull   Reason = "store_full"
	ReasonNoStore     Reason = "no_store"
	ReasonStoreDown   Reason = "store_down"   // an attribute is left out while the store can't tell
	ReasonCircuitOpen Reason = "circuit_open" // the store did not answer lately and was not asked
	ReasonStoreBusy   Reason = "store_busy"   // it was not asked, since too many calls are under way
	ReasonHeld        Reason = "held"         // another transaction holds what the store was asked about
	ReasonDatedAhead  Reason = "dated_ahead"  // a node's clock is ahead of the store's, or the store's behind
	ReasonDraining    Reason = "draining"
	ReasonTimeout     Reason = "timeout"
	ReasonCanceled    Reason = "canceled"   // the client went away
	ReasonNotParked   Reason = "not_parked" // there was no room to wait, or [Early] says not to
	ReasonNothingHere Reason = "nothing_to_restore"
	ReasonOther       Reason = "other"
)

// reasons classes errors; the first that fits counts. Those down to too_late
// are refusals, the others say that we could not tell.
var reasons = []struct {
	err    error
	reason Reason
	result Result
}{
	{seal.ErrMalformed, ReasonMalformed, ResultRefused},
	{seal.ErrUnknownKey, ReasonUnknownKey, ResultRefused},
	{seal.ErrAuth, ReasonNotAuthentic, ResultRefused},
	{policy.ErrBinding, ReasonBinding, ResultRefused},
	{policy.ErrExpired, ReasonExpired, ResultRefused},
	{policy.ErrNotYetValid, ReasonNotYetValid, ResultRefused},
	{ErrIncomplete, ReasonIncomplete, ResultRefused},
	{ErrSuperseded, ReasonSuperseded, ResultRefused},
	{ErrRolledBack, ReasonRolledBack, ResultRefused},
	{ErrRevoked, ReasonRevoked, ResultRefused},
	{replay.ErrReplayed, ReasonReplayed, ResultRefused},
	{replay.ErrBeforeEpoch, ReasonBeforeEpoch, ResultRefused},
	{replay.ErrBeyondHorizon, ReasonBeyondHorizon, ResultRefused},
	{policy.ErrNotAllowed, ReasonNotAllowed, ResultRefused},
	{ErrNoAttribute, ReasonNoAttribute, ResultRefused},
	{ErrEnded, ReasonEnded, ResultRefused},
	{ErrMoved, ReasonMoved, ResultRefused},
	{ErrTooLate, ReasonTooLate, ResultRefused},

	{ErrProofRequired, ReasonProof, ResultUnavailable},
	{policy.ErrStoreDown, ReasonStoreDown, ResultUnavailable},
	{replay.ErrFull, ReasonStoreFull, ResultUnavailable},
	{replay.ErrNoStore, ReasonNoStore, ResultUnavailable},
	{replay.ErrNotAsked, ReasonCircuitOpen, ResultUnavailable},
	{replay.ErrBusy, ReasonStoreBusy, ResultUnavailable},
	{replay.ErrHeld, ReasonHeld, ResultUnavailable},
	{replay.ErrAhead, ReasonDatedAhead, ResultUnavailable},
	{errDraining, ReasonDraining, ResultUnavailable},
	{context.DeadlineExceeded, ReasonTimeout, ResultUnavailable},
	{context.Canceled, ReasonCanceled, ResultUnavailable},
}

// outcome classes an error, or none.
func outcome(err error) (Result, Reason) {
	if err == nil {
		return ResultGranted, ""
	}
	for _, class := range reasons {
		if errors.Is(err, class.err) {
			return class.result, class.reason
		}
	}
	return ResultUnavailable, ReasonOther
}

// observe tells the observer, if there is one. An attribute that the policy does
// not declare is left out: its name may be anything.
func (m *Manager) observe(ctx context.Context, e Event) {
	if m.cfg.Observer == nil {
		return
	}
	if _, declared := m.cfg.Policy.Rule(e.Attribute); !declared {
		e.Attribute = ""
	}
	m.cfg.Observer.Observe(ctx, e)
}

// note tells how something ended that was done to a session.
func (m *Manager) note(ctx context.Context, kind Kind, id seal.ID, attribute string, err error) {
	if m.cfg.Observer == nil {
		return
	}
	e := Event{Kind: kind, Attribute: attribute}
	if id != (seal.ID{}) {
		e.Session = short(id)
	}
	e.Result, e.Reason = outcome(err)
	m.observe(ctx, e)
}

// noteRestore tells how a restore ended, and what it had to leave out.
func (m *Manager) noteRestore(ctx context.Context, h Holder, out Restored, err error, took time.Duration) {
	if m.cfg.Observer == nil {
		return
	}
	e := Event{Kind: KindRestore, Session: short(h.Session), Duration: took}
	if e.Result, e.Reason = outcome(err); out.Joined {
		e.Result = ResultJoined
	}
	m.observe(ctx, e)
	for _, d := range out.Dropped {
		_, reason := outcome(d.Reason)
		if errors.Is(d.Reason, policy.ErrNotAllowed) {
			reason = ReasonRolledBack // nothing else of this class lets the others go on
		}
		m.observe(ctx, Event{Kind: KindDropped, Result: ResultDropped, Reason: reason, Session: e.Session, Attribute: d.Name})
	}
}

// noteEarly tells what became of a request that came before its session.
func (m *Manager) noteEarly(ctx context.Context, h Holder, where state, why Reason, took time.Duration) {
	e := Event{Kind: KindEarly, Result: ResultUnavailable, Reason: why, Session: short(h.Session), Duration: took}
	switch {
	case where == here:
		e.Result, e.Reason = ResultGranted, ""
	case m.draining.Load():
		e.Reason = ReasonDraining
	}
	m.observe(ctx, e)
}

// noteDrain tells how a drain ended.
func (m *Manager) noteDrain(ctx context.Context, out Drained) {
	m.observe(ctx, Event{Kind: KindDrain, Result: ResultGranted, Count: out.Sessions})
	if n := len(out.Unacknowledged); n > 0 {
		m.observe(ctx, Event{Kind: KindDrain, Result: ResultUnacknowledged, Count: n})
	}
}

// Stats are what a node holds at this moment.
type Stats struct {
	Sessions int // in memory
	Parked   int // requests that wait for their session
	Draining bool
	Circuit  replay.Circuit // of the store; closed without one
}

// Stats counts what the node holds, for gauges.
func (m *Manager) Stats() Stats {
	m.arrivals.mu.Lock()
	parked := m.arrivals.parked
	m.arrivals.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	stats := Stats{Sessions: len(m.sessions), Parked: parked, Draining: m.draining.Load()}
	if m.guard != nil {
		stats.Circuit = m.guard.Circuit()
	}
	return stats
}
