package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// StatelessConfig says how a [Stateless] works. Of its [Config] MaxSessions,
// Lapse and Early play no part: nothing stays in memory.
type StatelessConfig struct {
	Config
	// Header carries the set in the header Sealed-Session of requests and
	// responses, for API clients, instead of in cookies. A set of the one does
	// not pass as the other.
	Header bool
	// MaxText bounds the text of a set, in characters. Zero: 7,168, which fills
	// two cookies and stays below the 8 KiB that proxies allow a line of a
	// request's header. At most 16,384.
	MaxText int
	// CheckEvery is how long a set is taken without asking the store again
	// whether its session or its login has been revoked: so soon a logout
	// reaches requests with a copied set. Zero: every request asks, in one round
	// trip, and once more if it changed something; otherwise a change that is
	// under way during a login can undo the login in the client. At most a quarter of the policy's idle time. A policy with an
	// attribute whose rollback is refused or dropped asks at each request all
	// the same, and with [replay.None] nobody asks.
	CheckEvery time.Duration
}

// Limits of a set's text, in characters.
const (
	DefaultMaxText = 7 << 10
	MaxMaxText     = 16 << 10
)

// Stateless serves sessions that the server does not remember: the client brings
// the whole sealed set with each request, in cookies or in a header, and gets it
// back when something changed. Handlers use the same [Session] as under
// [Manager.Middleware], and sets pass the same checks in the same order.
//
// What differs, because nothing is remembered between requests:
//
//   - Whoever has the cookies, or the header's text, is the session, like any
//     bearer of a cookie.
//   - Two requests at once begin with the same set, and the later response wins:
//     the changes of the other are lost. With rollback refuse or drop, and for
//     rights, the store decides, and one of the two gets [ErrMoved].
//   - An old set is as good as the newest until it expires, unless the store says
//     otherwise: it knows of logouts, spent rights and changes of attributes whose
//     rollback is refused or dropped. A right that is spent may still be read from
//     an old set; taking it fails.
//   - Changes must be made before the response's header is sent; after that they
//     return [ErrTooLate].
type Stateless struct {
	m          *Manager
	header     bool
	maxText    int
	checkEvery time.Duration
	remembers  bool // there is a store that can know of revocations
	fenced     bool // the policy has an attribute that must not be rolled back
}

// NewStateless checks the configuration as [New] does. It refuses a policy with
// an attribute of authority server or with burn restore, which needs a node that
// remembers, and one that wants a proof of the session's key.
func NewStateless(ctx context.Context, cfg StatelessConfig) (*Stateless, error) {
	m, err := New(ctx, cfg.Config)
	if err != nil {
		return nil, err
	}
	st := &Stateless{m: m, header: cfg.Header, maxText: cfg.MaxText, checkEvery: cfg.CheckEvery, remembers: !storeless(cfg.Store)}
	if st.maxText == 0 {
		st.maxText = DefaultMaxText
	}
	if st.maxText < 1 || st.maxText > MaxMaxText {
		return nil, fmt.Errorf("session: MaxText %d, want 1 to %d", st.maxText, MaxMaxText)
	}
	if most := cfg.Policy.Session().Idle / 4; st.checkEvery < 0 || st.checkEvery > most {
		return nil, fmt.Errorf("session: CheckEvery %v, want at most %v, a quarter of the idle time", st.checkEvery, most)
	}
	if !st.remembers {
		st.checkEvery = 0 // nothing is put off
	}
	m.shared = newShared(m.scope, len(cfg.Policy.Rules()))
	for _, rule := range cfg.Policy.Rules() {
		switch {
		case rule.Authority == policy.AuthorityServer:
			return nil, fmt.Errorf("session: attribute %q is kept on the server, which remembers nothing", rule.Name)
		case rule.Burn == policy.BurnOnRestore:
			return nil, fmt.Errorf("session: attribute %q is burnt by a restore, and each request would be one", rule.Name)
		case rule.Binding == policy.BindingKey:
			return nil, fmt.Errorf("session: attribute %q wants a proof of the session's key, which no request carries", rule.Name)
		}
		st.fenced = st.fenced || rule.Protected()
	}
	return st, nil
}

// Manager is what the sessions of st share with others: its policy, keys and
// store. It issues and takes grants; no session ever lives in it.
func (st *Stateless) Manager() *Manager { return st.m }

// Middleware gives each request its session and sends the changed set back
// with the response's header.
//
// Where each request asks the store, it is asked again before a changed set goes
// out. If another request moved the session on meanwhile, or renewed it, as a
// login does, the response is 503, as with [ErrMoved]. A handler that panics has what it changed
// before sealed into the response's header, for whoever recovers and answers:
// the store may know of a protected change already.
//
// A visitor who brings nothing, or a set that is past its time or whose login was
// ended, gets a new session ([Session.New]). Any other set that is refused is
// answered with 401, and the client is told to drop it; next never sees an empty
// session in its place. One that the store or the keyring could not tell about is
// answered with 503 and Retry-After, and the client keeps what it has.
//
// So is a set that was superseded, logged out or renewed, for ten seconds from when
// its client first brought it in vain, which a cookie of its own remembers: a newer
// set may be on its way to the client, whom a new session would take it from. Who
// brings the same set later did not get that: a superseded one is then
// answered with 401 and dropped, and in the place of the others there is a
// new session. A client with [StatelessConfig.Header] decides for itself, as it
// has no cookies: it gets 503 for a superseded set each time, and a new session in the place
// of the others at once. The request header "Sealed-Session: none" begins anew, with cookies
// not before those ten seconds are over.
//
// When the changes can't be sealed, for instance because the set is over its
// limit, the response is replaced by an error with the status of [HTTPStatus],
// the handler's further writes fail, and the client keeps its older set.
func (st *Stateless) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rw := &statelessWriter{st: st, r: r, held: st.brought(r)}
		rw.ResponseWriter, rw.before = w, rw.send
		s, err := st.session(r, rw)
		if err != nil {
			st.refuse(rw, err)
			return
		}
		rw.session.Store(s)
		defer func() { // after a panic too, for whoever recovers and answers
			rw.commit()
			rw.session.Load().kill(ErrTooLate) // whoever kept it is told
		}()
		next.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), contextKey{}, &rw.headerHook)))
	})
}

// session opens what the request brought, or makes a new session where there is
// none or where it is over for certain.
func (st *Stateless) session(r *http.Request, rw *statelessWriter) (*Session, error) {
	anew := r.Header.Get(StatusHeader) == StatusNone
	if rw.held.empty() || anew && st.header {
		return st.begin(rw), nil
	}
	s, err := st.openHeld(r.Context(), rw)
	replaced := errors.Is(err, errRenewed)
	if rw.late != "" {
		rw.settled = rw.late.settled(st, r)
	}
	onItsWay := rw.late != "" && !rw.settled // a newer set, whose cookies a new session would take the place of
	if ended(err) || replaced && (rw.settled || st.header) || anew && !onItsWay {
		st.m.log.Info("session is over, or given up", "reason", err)
		rw.spare = replaced && !rw.settled
		return st.begin(rw), nil
	}
	return s, err
}

// openHeld opens what the request brought, and notes in rw if it should have been newer.
func (st *Stateless) openHeld(ctx context.Context, rw *statelessWriter) (*Session, error) {
	text, err := rw.held.text(st.maxText)
	if err != nil {
		return nil, err
	}
	s, err := st.open(ctx, text, rw)
	if errors.Is(err, errRenewed) || errors.Is(err, ErrSuperseded) {
		rw.late = newLate(text)
	}
	return s, err
}

func (st *Stateless) begin(rw *statelessWriter) *Session {
	s := st.m.newSession(func(*Session) error { return nil })
	s.holder = Holder{Session: s.id, bearer: st.bearer()}
	s.binding = st.bearer()
	s.visit = &visit{st: st, header: &rw.headerHook, asked: s.used}
	s.clients[rw] = nil
	return s
}

// open is [Manager.Restore] without its end: the same checks in the same order,
// but the store is asked only what it can know, and nothing stays in memory.
func (st *Stateless) open(ctx context.Context, text string, rw *statelessWriter) (*Session, error) {
	p, err := parseSet(text)
	if err != nil {
		return nil, err
	}
	p.Holder.bearer = st.bearer()
	set := sets.Get().(*verified)
	defer set.leave()
	if err := st.m.verify(ctx, p, set); err != nil {
		return nil, err
	}
	asked, err := st.ask(ctx, set)
	if err != nil {
		return nil, err
	}
	p.Holder.Session = set.manifest.Session
	s, dropped := st.m.revive(p, set, set.manifest.Fence)
	s.visit = &visit{
		st: st, header: &rw.headerHook, asked: asked, attempt: replay.NewOwner(),
		brought: s.version, issued: time.Unix(set.manifest.IssuedAt, 0),
	}
	s.unchanged(p.Manifest, s.visit.issued, set.stale() || len(dropped) > 0 || asked.Equal(set.now) && st.checkEvery > 0)
	s.clients[rw] = nil
	return s, nil
}

// unchanged takes back what revive says: that all must be sealed anew. The set
// is good as it is, unless dirty.
func (s *Session) unchanged(manifest string, sealed time.Time, dirty bool) {
	for _, a := range s.attrs {
		a.dirty = false
	}
	s.replica = replica{manifest: manifest, sealedAt: sealed, dirty: dirty}
}

func (set *verified) stale() bool {
	for i := range set.items {
		if set.items[i].opened.Stale {
			return true
		}
	}
	return false
}

// bearer is the manifest's binding of a set that is nobody's but its bearer's.
// It is none that a session cookie proves, nor the reverse.
func (st *Stateless) bearer() string {
	if st.header {
		return "bearer:header"
	}
	return "bearer:cookie"
}

// asksAlways reports that no set is taken without asking the store.
func (st *Stateless) asksAlways() bool { return st.remembers && (st.fenced || st.checkEvery == 0) }

// ask puts the store's one question, if it is due, and says when the set was
// last known to be good. With nobody to ask that is now: a session that is used
// would else end with the idle time of its first set.
func (st *Stateless) ask(ctx context.Context, set *verified) (asked time.Time, err error) {
	last := time.Unix(set.manifest.IssuedAt, 0)
	if !st.remembers {
		return set.now, nil
	}
	if !st.asksAlways() && set.now.Before(last.Add(st.checkEvery)) {
		return last, nil
	}
	place := replay.Place{
		Session: st.m.sessionKey(set.manifest.Session), Version: Version{Fence: set.manifest.Fence},
		KeepUntil: st.m.keepUntil(time.Unix(set.manifest.AbsoluteExpires, 0)), Login: st.m.loginOf(set.manifest),
	}
	// The store compares a login's time with its epoch. A subject that nobody
	// is gets sets from before the store's memory refused in the same round trip.
	dated := place
	dated.Login = replay.Login{Subject: place.Session, Since: last}
	places := []replay.Place{place, dated}
	switch {
	case place.Login == (replay.Login{}):
		places = places[1:]
	case !place.Login.Since.After(last): // it is dated later than its set only after an end of logins
		places = places[:1]
	}
	verdicts, err := st.m.cfg.Store.Acknowledge(ctx, places...) // generation 0: a question
	switch {
	case err != nil || len(verdicts) != len(places):
		return last, errors.Join(ErrUnavailable, err)
	case slices.Contains(verdicts, replay.Refused):
		return last, replay.ErrBeforeEpoch
	case verdicts[0] == replay.Revoked && !st.loginEnded(ctx, set.manifest):
		return last, errRenewed
	}
	return set.now, refusal(verdicts[0])
}

// errRenewed is what the store's "revoked" says of a set whose login stands: it was
// logged out, or renewed, and then a newer set may be on its way to the client.
var errRenewed = fmt.Errorf("%w, or renewed", ErrRevoked)

// loginEnded asks whether the set's login is what was ended.
func (st *Stateless) loginEnded(ctx context.Context, manifest *seal.Manifest) bool {
	if manifest.Subject == "" {
		return false
	}
	cut, err := st.m.cut(ctx, manifest.Subject)
	return err == nil && cut.Unix() >= manifest.SubjectSince
}

// ended reports that the set's session is over for certain and that nothing else
// is wrong with it.
func ended(err error) bool {
	if errors.Is(err, ErrRevoked) {
		return !errors.Is(err, errRenewed)
	}
	if !errors.Is(err, policy.ErrExpired) {
		return false
	}
	for _, other := range refusals {
		if other != policy.ErrExpired && errors.Is(err, other) {
			return false
		}
	}
	return true
}

// refuse answers a request whose set is no good, or could not be judged.
func (st *Stateless) refuse(rw *statelessWriter, err error) {
	st.m.note(rw.r.Context(), KindRestore, seal.ID{}, "", err)
	outward, status := Outward(err), http.StatusUnauthorized
	st.m.log.Warn("set refused", "outward", outward.Error(), "reason", err.Error())
	h := rw.ResponseWriter.Header()
	if outward == ErrRejected && (rw.late == "" || rw.settled) {
		rw.forget()
	} else { // a newer set may be on its way to the client
		outward, status = ErrUnavailable, http.StatusServiceUnavailable
		h.Set("Retry-After", "1")
		rw.late.note(rw)
	}
	h.Set("Cache-Control", "no-store")
	http.Error(rw.ResponseWriter, outward.Error(), status)
}
