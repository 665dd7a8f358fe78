package session_test

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// world is three nodes with one store, a browser with two tabs, and a thief who
// gets a copy of every cookie and every set. It does each step with the real
// thing, and then asks the oracle.
type world struct {
	t      rapid.TB
	strict bool // the role is rollback: refuse, else drop
	policy *policy.Policy
	keys   rotating
	rings  []*seal.Ring // to come
	store  *counted
	nodes  [3]*session.Manager
	tally  map[string]int // what happened, so that a test can see that it did

	branches map[*session.Session]*branch
	lives    map[seal.ID]*life
	values   int

	cookie  string // the browser's; empty: none
	held    *sealedSet
	episode *sealedSet // presented, and not yet of no use
	attempt replay.Owner
	tabs    [2]*tab

	// The drain's goroutine tells the tabs while everybody waits for it. This orders
	// what it does after what was done before, which waiting does not.
	order atomic.Int64

	cookies []string // the thief's
	sets    []*sealedSet
}

// tab is a connection of the browser with a node. All tabs share what is held.
type tab struct {
	w       *world
	s       *session.Session // nil: not connected
	deaf    bool             // loses what is pushed, until it next connects
	claimed *session.Version // what it last said that it holds
}

func newWorld(t rapid.TB, p *policy.Policy, strict bool, store replay.Store, rings []*seal.Ring) *world {
	w := &world{
		t: t, strict: strict, policy: p, keys: rotating{rings[0]}, rings: rings[1:], store: &counted{Store: store, calls: map[string]int{}},
		tally: map[string]int{}, branches: map[*session.Session]*branch{}, lives: map[seal.ID]*life{},
	}
	for n := range w.nodes {
		w.start(n)
	}
	for i := range w.tabs {
		w.tabs[i] = &tab{w: w}
	}
	time.Sleep(pastEpoch)
	w.align(time.Minute)
	return w
}

func (w *world) start(n int) {
	m, err := session.New(context.Background(), session.Config{
		Keys: &w.keys, Policy: w.policy, Store: w.store, App: "shop", Early: session.Early{Wait: -1},
	})
	if err != nil {
		w.t.Fatalf("a node: %v", err)
	}
	w.nodes[n] = m
}

// fail ends the program, and says of the same fault the same, so that the program
// can be shortened; the details are beside.
func (w *world) fail(what string, details ...any) {
	w.t.Helper()
	w.t.Log(details...)
	w.t.Fatal(what)
}

// align waits for the next full minute, unless there is room for what takes this
// long in the first half of the present one. All limits end in the second half, so
// that no step is near one.
func (w *world) align(need time.Duration) {
	now := time.Now()
	if into := now.Sub(now.Truncate(time.Minute)); into+need > 25*time.Second {
		time.Sleep(time.Minute - into)
	}
}

// here finds the branch of a session on a node.
func (w *world) here(n int, l *life) *branch {
	for _, b := range w.branches {
		if b.node == n && b.life == l && !b.gone {
			return b
		}
	}
	return nil
}

// look notes which branches were let go. None is without a reason.
func (w *world) look(lapsed bool) {
	now := time.Now()
	for s, b := range w.branches {
		if b.gone {
			delete(w.branches, s)
		}
		if b.gone || b.s.Err() == nil {
			continue
		}
		b.gone = true
		if !b.doomed() && !b.over(now) && !(lapsed && w.lapsed(b, now)) {
			w.fail("a node let go of a session that lives there", b.node, b.s.Err())
		}
	}
}

// lapsed says that the last client of b left some time ago, and was given everything.
func (w *world) lapsed(b *branch, now time.Time) bool {
	for _, t := range w.tabs {
		if t.s == b.s {
			return false
		}
	}
	newest := b.sets[b.s.Version().Gen]
	return !b.left.IsZero() && now.Sub(b.left) >= 30*time.Second && newest != nil && newest.manifest != ""
}

// sealed notes the set that a step has sealed.
func (w *world) sealed(b *branch) {
	if v := b.s.Version(); !b.gone && v.Gen > b.base {
		b.note(v, time.Now())
	}
}

// --- requests

// lifeOf is the session that a cookie names; nil if there is none.
func (w *world) lifeOf(cookie string) *life {
	id, err := seal.ParseID(strings.Split(cookie, ".")[0])
	if err != nil {
		return nil
	}
	return w.lives[id]
}

func (w *world) fenceOf(cookie string) uint64 {
	v, _ := session.ParseVersion("0." + cookie[strings.LastIndexByte(cookie, '.')+1:])
	return v.Gen
}

func requestWith(cookie string) *http.Request {
	r := request("POST", "/")
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: session.LoopbackCookieName, Value: cookie})
	}
	return r
}

// visit makes a request with a cookie and returns the cookie that the client then
// has. Anew: the client has nothing to restore from.
func (w *world) visit(n int, cookie string, anew bool, acts []act) (next string, served bool) {
	now, l := time.Now(), w.lifeOf(cookie)
	b := w.here(n, l)
	if b != nil && w.fenceOf(cookie) > b.s.Version().Fence {
		if !b.doomed() {
			w.t.Fatalf("a cookie of a later fence than the session's")
		}
		b = nil // it is let go
	}
	r, rec := requestWith(cookie), httptest.NewRecorder()
	if anew {
		r.Header.Set(session.StatusHeader, session.StatusNone)
	}
	var last *session.Session
	w.nodes[n].Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		served, last = true, session.FromContext(r.Context())
		w.admitted(n, last, b, cookie, anew)
		for _, a := range acts {
			last = w.act(r.Context(), n, last, a)
		}
	})).ServeHTTP(rec, r)
	switch {
	case !served && (rec.Code != http.StatusServiceUnavailable || rec.Header().Get(session.StatusHeader) != session.StatusRequired && (l == nil || !l.ended)):
		w.fail("not served, and not told to restore", rec.Code)
	case !served && (b != nil && !b.over(now) || cookie == ""):
		w.fail("not served where the session lives", n)
	case served && last.New():
		delete(w.branches, last)
	case served && w.branches[last] != nil:
		w.sealed(w.branches[last])
	}
	for _, c := range rec.Result().Cookies() {
		cookie = c.Value
		if c.MaxAge < 0 {
			cookie = ""
		} else {
			w.cookies = append(w.cookies, cookie)
		}
	}
	w.look(false)
	return cookie, served
}

// overEverywhere says that the session of a cookie ended, or that nobody used it for too long
// in the one place from where it may go on.
func (w *world) overEverywhere(cookie string, now time.Time) bool {
	l := w.lifeOf(cookie)
	return l != nil && (l.ended || l.at.over(now))
}

// admitted checks which session a handler was given.
func (w *world) admitted(n int, s *session.Session, b *branch, cookie string, anew bool) {
	now := time.Now()
	if s.New() {
		if cookie != "" && !anew && !w.overEverywhere(cookie, now) || anew && b != nil && !b.over(now) {
			w.t.Fatalf("an empty session in place of one that exists")
		}
		l := &life{id: s.ID(), absolute: now.Add(absoluteLimit)}
		w.branches[s] = &branch{
			life: l, node: n, s: s, content: map[string]kept{}, unsure: map[string]unsure{}, used: now, sets: map[uint64]*sealedSet{},
		}
		l.at = w.branches[s]
		w.lives[l.id] = l
		return
	}
	if b == nil || b.s != s || b.over(now) {
		w.t.Fatalf("served by a session that is not there any more")
	}
	b.used = now
}

// --- what a handler does

// act is one thing that a handler does.
type act struct {
	Do    string
	Name  string // of an attribute
	Owner byte
	Lost  bool // the store's answer is lost
}

// act does a and returns the request's session.
func (w *world) act(ctx context.Context, n int, s *session.Session, a act) *session.Session {
	b := w.branches[s]
	if a.Lost {
		w.store.lost = map[string]string{"take": "take", "set": "protect", "delete": "protect"}[a.Do]
		if traits[a.Name].once {
			w.store.lost = "take"
		}
		defer func() { w.store.lost = "" }()
	}
	switch a.Do {
	case "read":
		w.read(b)
	case "set":
		w.set(ctx, b, a.Name)
	case "update":
		w.update(ctx, b)
	case "delete":
		w.changed(b, a.Name, nil, s.Delete(ctx, a.Name))
	case "take":
		w.take(ctx, b, a.Name, replay.Owner{a.Owner})
	case "login", "renew":
		return w.renew(ctx, b, a.Do == "login")
	case "logout":
		w.logout(ctx, b)
	case "end logins":
		w.endLogins(n)
	}
	return s
}

// permitted checks that only a session that has moved or ended refuses.
func (w *world) permitted(b *branch, what string, err error) (refused bool) {
	if !errors.Is(err, session.ErrMoved) && !errors.Is(err, session.ErrEnded) {
		return false
	}
	if !b.doomed() {
		w.fail(what+": refused, but the session lives here", err, b.node)
	}
	return true
}

// read reads everything. It is what was last set in this place.
func (w *world) read(b *branch) {
	now := time.Now()
	for _, name := range slices.Sorted(maps.Keys(traits)) { // a program does the same again
		rule := traits[name]
		var number int
		err := b.s.Get(name, &number)
		want, k := b.has(name, now), b.content[name]
		switch {
		case w.permitted(b, "reading", err):
			return
		case err == nil:
			if want == no || number != k.number {
				w.fail(name+" is not what was set", number, b.node, k, want)
			}
			if rule.protected && !b.doomed() && b.life.role != k.value {
				w.fail(name+" was undone", number, b.node, k)
			}
			b.use(name, now)
		case !errors.Is(err, session.ErrNoAttribute):
			w.t.Fatalf("reading %s: %v", name, err)
		case want == yes && !(k.burnt && k.effects > 0):
			w.fail(name+" is lost", b.node, k)
		}
	}
	w.tally["read"]++
}

func (w *world) value() *value {
	w.values++
	return &value{number: w.values}
}

func (w *world) set(ctx context.Context, b *branch, name string) {
	v := w.value()
	w.changed(b, name, v, b.s.Set(ctx, name, v.number))
}

// update adds to what is there.
func (w *world) update(ctx context.Context, b *branch) {
	v := w.value()
	w.changed(b, "cart", v, session.Update(session.NewContext(ctx, b.s), policy.Attr[int]("cart"), func(present int) (int, error) {
		if k, set := b.content["cart"]; set && k.number != present {
			w.fail("an update of what was not set", present, k)
		}
		return v.number, nil
	}))
}

// changed notes what came of setting an attribute to v, or of deleting it.
func (w *world) changed(b *branch, name string, v *value, err error) {
	now, rule := time.Now(), traits[name]
	old, had := b.content[name]
	alive := had && now.Before(old.until)
	switch {
	case w.permitted(b, "a change of "+name, err):
		return
	case errors.Is(err, session.ErrUnavailable) && w.store.lost == "":
		if rule.once { // spent by nobody
			w.tally["lost change of a right"]++
			if old.taker == nil && !b.doomed() {
				old.taker = &replay.Owner{255}
			}
		} else if !b.doomed() {
			w.tally["lost protected change"]++
			b.protect()
		}
		return
	case err != nil:
		w.t.Fatalf("a change of %s: %v", name, err)
	}
	if b.doomed() && (rule.protected && (alive || v != nil) || rule.once && alive && old.given && !old.burnt) {
		w.fail(name+" was changed after the session had gone from there", b.node, old)
	}
	b.drop(name)
	if v != nil {
		b.put(name, v, now)
	}
	if rule.protected && (alive || v != nil) {
		w.tally["protected change"]++
		b.protect()
		b.life.role = v
	}
}

// take takes a right: of all who try, on all nodes, one succeeds.
func (w *world) take(ctx context.Context, b *branch, name string, owner replay.Owner) {
	now := time.Now()
	k, there := b.content[name], b.has(name, now)
	doubt := b.unsure[name]
	if (there == no || doubt.owner == owner) && doubt.value != nil && now.Before(doubt.until) {
		k, there = doubt.kept, yes // a repetition is about what its first try was about
	}
	lost := w.store.lost
	var number int
	err := b.s.Take(ctx, name, owner, &number)
	mine := there != no && k.taker != nil && *k.taker == owner
	switch {
	case w.permitted(b, "a Take", err):
	case err == nil:
		if b.doomed() || there == no || k.number != number || k.void && !mine || k.effects > 0 || k.taker != nil && !mine {
			w.fail(name+" was taken", number, b.node, owner[0], k, b.doomed())
		}
		w.tally["taken"]++
		if mine {
			w.tally["taken after a lost answer"]++
		}
		k.effects, k.taker = k.effects+1, &owner
		b.forget(name, k)
		delete(b.unsure, name)
	case errors.Is(err, session.ErrUnavailable) && lost == "take" && w.store.lost == "":
		if !b.doomed() && k.taker == nil {
			k.taker = &owner
		}
		b.unsure[name] = unsure{k, owner}
	case errors.Is(err, replay.ErrReplayed):
		if there == no || k.taker == nil || mine && k.effects == 0 {
			w.fail(name+" is spent, but nobody took it", b.node, k)
		}
		w.tally["replayed"]++
		if b.forget(name, k); doubt.owner == owner {
			delete(b.unsure, name)
		}
	case !errors.Is(err, session.ErrNoAttribute) || there == yes && !(k.burnt && k.effects > 0):
		w.fail(name+" can't be taken", err, b.node, k)
	}
}

func (b *branch) forget(name string, k kept) {
	if b.content[name].value == k.value {
		delete(b.content, name)
	}
}

// renew gives the session another ID, with a login or without.
func (w *world) renew(ctx context.Context, b *branch, login bool) *session.Session {
	unborn, err, s := b.s.New(), error(nil), b.s
	if login {
		s, err = b.s.Login(ctx, "ada", trusted)
	} else if !unborn { // it would make a session of nothing
		s, err = b.s.Renew(ctx)
	}
	switch {
	case w.permitted(b, "a renewal", err):
		return b.s
	case err != nil:
		w.t.Fatalf("a renewal: %v", err)
	case b.doomed():
		w.t.Fatalf("a renewal after the session had gone from here")
	}
	subject := b.life.subject
	if login {
		subject = "ada"
		w.tally["login"]++
	}
	if unborn {
		b.life.subject = subject
		return s
	}
	l := &life{id: s.ID(), former: b.life, subject: subject, absolute: b.life.absolute, role: b.life.role}
	next := &branch{life: l, node: b.node, s: s, content: b.content, unsure: b.unsure, used: time.Now(), sets: map[uint64]*sealedSet{}, base: s.Version().Gen}
	l.at, b.life.ended, b.gone = next, true, true
	w.branches[s], w.lives[l.id] = next, l
	if w.lifeOf(session.CookieValueForTest(s.Holder())) != l {
		w.t.Fatalf("the renewed session has another ID")
	}
	return s
}

// logout ends the session, unless another request renewed it. Then it has to say so.
func (w *world) logout(ctx context.Context, b *branch) {
	unborn := b.s.New()
	switch err := b.s.Logout(ctx); {
	case errors.Is(err, session.ErrMoved) && b.life.ended:
		w.tally["logout overtaken"]++
		return
	case err != nil:
		w.t.Fatalf("logout: %v", err)
	}
	for _, l := range w.lives {
		if l != b.life && l.was(b.life) && !l.ended {
			w.fail("a logout of a session that goes on under another ID", b.node)
		}
	}
	b.life.ended = !unborn
}

// endLogins ends all logins: the password was changed.
func (w *world) endLogins(n int) {
	if err := w.nodes[n].EndLogins(context.Background(), "ada"); err != nil {
		w.t.Fatalf("ending logins: %v", err)
	}
	for _, l := range w.lives {
		l.ended = l.ended || l.subject != ""
	}
}

// --- sets

// hand presents a set, or none, with a cookie. It returns false if the answer was lost.
func (w *world) hand(n int, cookie string, q *sealedSet, attempt replay.Owner, lost bool) (*session.Session, session.WireReply, bool) {
	now, l := time.Now(), w.lifeOf(cookie)
	want, behind, b := no, false, w.here(n, l)
	request := session.WireRequest{V: session.WireVersion}
	if q != nil {
		q.attempt = attempt
		request.Attempt, request.Manifest, request.Blobs = base64.RawURLEncoding.EncodeToString(attempt[:]), q.manifest, q.blobs
		if want, behind = q.restores(attempt, now, w.strict); l != q.by.life {
			want = no
		}
	}
	joins := q != nil && attempt != (replay.Owner{}) && l == q.by.life && !q.over(now) && b != nil && !b.doomed() && !b.over(now)
	if lost && want != either && !joins {
		w.store.lost = "restore"
	}
	s, reply := w.nodes[n].Present(context.Background(), requestWith(cookie), request)
	cut := lost && w.store.lost == "" && want != either && !joins
	w.store.lost = ""
	if q != nil {
		w.answered(n, l, q, attempt, s, reply, behind, joins, cut, want)
	}
	if s != nil && (w.branches[s] == nil || w.branches[s].life != l || w.branches[s].gone) {
		w.t.Fatalf("a session for whom it is not")
	}
	w.look(false)
	return s, reply, !lost
}

// answered checks what came of a set, presented with the cookie of l.
func (w *world) answered(n int, l *life, q *sealedSet, attempt replay.Owner, s *session.Session, reply session.WireReply, behind, joins, cut bool, want forecast) {
	now := time.Now()
	switch state := reply.State; {
	case joins:
		if state != session.StateNone || s == nil {
			w.fail("not joined", state, n, q.version)
		}
		w.tally["joined"]++
	case cut && want == yes:
		if state != session.StateRetry {
			w.fail("an answer without the store's", state, n, q.version)
		}
		w.tally["lost restore"]++
		q.restored(-1, nil, attempt, behind, now)
	case cut:
		if state != session.StateRetry {
			w.fail("an answer without the store's", state, n, q.version)
		}
	case state == session.StateRestored:
		if want == no {
			w.fail("a set was restored that must not be", n, q.version, "ended", q.by.life.ended, "over", q.over(now), "superseded", q.by.life.at != q.by, "protected from", q.by.protected, "acknowledged", q.by.floorSure)
		}
		w.tally["restored"]++
		if behind {
			w.tally["withheld"]++
		}
		if old := w.here(n, q.by.life); old != nil {
			old.gone = true
		}
		b := q.restored(n, s, attempt, behind, now)
		w.branches[s] = b
		w.read(b)
	case state == session.StateRefused:
		if want == yes {
			w.fail("an owner was locked out", n, q.version)
		}
		w.tally["refused"]++
	case state == session.StateRetry && l != nil && l.ended:
		w.tally["settling"]++ // the newer cookie may be on its way
	default:
		w.fail("another answer to a set", state)
	}
}

// shake lets a tab shake hands with a node, and present what the browser holds.
func (w *world) shake(t *tab, n int, lost bool) (state string) {
	t.leave()
	if w.episode == nil && w.held != nil {
		w.episode, w.attempt = w.held, replay.Owner(seal.NewID())
	}
	presented := w.episode
	s, reply, heard := w.hand(n, w.cookie, presented, w.attempt, lost)
	if !heard || reply.State == session.StateRetry {
		return session.StateRetry
	}
	if reply.State == session.StateRefused && w.held == presented {
		w.held = nil
	}
	moved := false
	if s != nil && presented != nil {
		moved = reply.State == session.StateRestored || reply.State != session.StateRefused && s.Version().Fence > presented.version.Fence
	}
	if !moved {
		w.episode = nil
	}
	if s != nil && s.Attach(t) == nil {
		t.s, t.claimed = s, nil
	}
	return reply.State
}

// leave ends a tab's connection.
func (t *tab) leave() {
	if t.s != nil {
		t.s.Detach(t)
		if b := t.w.branches[t.s]; b != nil {
			b.left = time.Now()
		}
		t.s = nil
	}
}

// ack is a tab's connect: it says what is held, and gets what is newer.
func (w *world) ack(t *tab) {
	if t.s == nil {
		return
	}
	b := w.branches[t.s]
	var held *session.Version
	if w.held != nil {
		held = &w.held.version
		if !b.life.was(w.held.by.life) {
			t.leave() // the browser began another session meanwhile
			return
		}
	}
	over := b.over(time.Now())
	t.deaf = false
	err := t.s.Acknowledge(context.Background(), t, held)
	switch {
	case over && err == nil:
		w.t.Fatalf("a connect brought a session back to life whose time was up")
	case over || w.permitted(b, "an acknowledgement", err):
		return
	case err != nil:
		w.t.Fatalf("an acknowledgement: %v", err)
	}
	t.claimed, b.used = held, time.Now()
	w.sealed(b)
	newest := b.sets[b.s.Version().Gen]
	if ours := w.held == nil || w.held.by.life == b.life && w.held.version.Less(b.s.Version()); ours && newest != nil && w.held != newest {
		w.fail("a connect did not bring the newest set", b.node, newest.version)
	}
	w.tally["acknowledged"]++
}

// tell notes that a node may tell the store what the clients of its sessions hold.
func (w *world) tell(n int) {
	for _, b := range w.branches {
		if b.node != n || b.gone {
			continue
		}
		lowest, clients := b.s.Version(), 0
		for _, t := range w.tabs {
			if t.s != b.s {
				continue
			}
			clients++
			if t.claimed == nil || t.claimed.Fence != lowest.Fence {
				lowest = session.Version{}
			} else if t.claimed.Less(lowest) {
				lowest = *t.claimed
			}
		}
		if clients > 0 {
			b.told(lowest.Gen)
		}
	}
}

// Push implements session.Client.
func (t *tab) Push(p session.Push) {
	w := t.w
	w.order.Load()
	if t.deaf {
		return
	}
	b := w.branches[t.s]
	if w.held != nil && w.held.by.life != b.life && w.held.by.life.was(b.life) {
		return // of a former ID; a real client sees only versions, see docs/design.md
	}
	if p.End {
		if w.held == nil || !p.Version.Less(w.held.version) {
			w.held = nil
		}
		return
	}
	renewed := w.held != nil && p.Over != (session.Version{}) && p.Version.Less(w.held.version) && !p.Over.Less(w.held.version) && p.Version.Gen > w.held.version.Gen
	if w.held != nil && !w.held.version.Less(p.Version) && !renewed {
		return
	}
	q := b.note(p.Version, time.Now())
	if q.manifest == "" {
		blobs := map[string]string{}
		if p.Delta {
			if w.held == nil || w.held.version != p.Base {
				return // one was lost
			}
			maps.Copy(blobs, w.held.blobs)
		}
		maps.Copy(blobs, p.Set)
		for _, slot := range p.Del {
			delete(blobs, slot)
		}
		q.manifest, q.blobs = p.Manifest, blobs
		w.sets = append(w.sets, q)
	}
	w.held = q
	if w.episode != nil && (renewed || p.Version.Fence > w.episode.version.Fence) {
		w.episode = nil
	}
}

// Detached implements session.Client.
func (t *tab) Detached() {
	t.w.order.Load()
	t.s = nil
}

// Renewed implements session.Client.
func (t *tab) Renewed(*session.Session) { t.s = nil }
