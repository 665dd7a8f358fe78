package session_test

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/filestore"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// threatened is a session on one of two nodes that share a store on disk. Its
// browser holds the newest set.
type threatened struct {
	*cluster
	t           *testing.T
	store       *counted
	here, there *session.Manager
	s           *session.Session
	b           *browser
}

const threatenedPolicy = `{"version":1,"session":{"idle":"30m","absolute":"12h","leeway":"30s"},"attributes":{
	"cart":{"ttl":"1h"},"login":{"ttl":"10m"},"ticket":{"ttl":"10m","once":true},
	"role":{"rollback":"refuse"},"rights":{"authority":"server"},"reset":{"ttl":"1h","once":true}}}`

func newThreatened(t *testing.T) *threatened {
	c := newCluster(t).with(threatenedPolicy)
	store, err := filestore.Open(filepath.Join(t.TempDir(), "spent"), filestore.Config{})
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	c.store = store
	w := &threatened{cluster: c, t: t, store: c.counted()}
	w.here, w.there = c.node(), c.node()
	w.s, w.b = shopping(t, w.here)
	must(t, w.s.Acknowledge(t.Context(), w.b, w.b.version))
	return w
}

// set is what the browser holds, with an attempt token of its own.
func (w *threatened) set() session.Presented { return w.b.set(w.s.Holder()) }

// change sets an attribute and lets the browser have it.
func (w *threatened) change(name string, value any) {
	w.t.Helper()
	must(w.t, w.s.Set(w.t.Context(), name, value))
	must(w.t, w.s.Save(w.t.Context()))
}

// refused wants that neither node restores p, and why.
func (w *threatened) refused(what string, p session.Presented, want ...error) {
	w.t.Helper()
	for node, m := range map[string]*session.Manager{"the same": w.here, "the other": w.there} {
		r, err := m.Restore(w.t.Context(), p)
		ok := false
		for _, e := range want {
			ok = ok || errors.Is(err, e)
		}
		if !ok || r.Session != nil {
			w.t.Errorf("%s, on %s node: %v, want %v", what, node, err, want)
		}
	}
}

func (w *threatened) restored(p session.Presented) *session.Session {
	w.t.Helper()
	r, err := w.there.Restore(w.t.Context(), p)
	must(w.t, err)
	return r.Session
}

// Each row is a threat, what keeps it, and how to take that away; then the row
// fails. Each removal was tried.
func TestThreats(t *testing.T) {
	for _, row := range []struct {
		threat  string
		removal string
		run     func(t *testing.T, w *threatened)
	}{
		{"A1 a changed bit, another spelling", "seal/base64.go decode64To: let the unused bits of the last character be anything", threatSpelling},
		{"A2 rollback to an older state", "session/manager.go flush: tell the store of no floors", threatRollback},
		{"A3 attributes of different moments or sessions", "session/restore.go complete: do not compare the jti", threatMixture},
		{"A4 attributes left out", "session/restore.go complete: skip entries without an envelope", threatOmission},
		{"A5 no manifest, and one twice", "session/restore.go admit: send the attempt as the set's fence", threatManifest},
		{"A6 replay of a right", "session/take.go Take: do not look at the outcome", threatReplay},
		{"A7 effect and claim apart", "session/take.go TakeTx: claim in the manager's store", threatEffect},
		{"A8 one set on two nodes", "session/restore.go admit: the same attempt for all", threatTwoNodes},
		{"A9 a stolen set", "session/restore.go judge: Bound is true", threatTheft},
		{"A10 time", "policy/judge.go Judge, JudgeSession: no ErrNotYetValid, no ErrExpired", threatTime},
		{"A11 size", "session/restore.go sizes: without one of its three limits", threatSize},
		{"A12 a storm of restores", "session/restore.go admit: reserve nothing", threatStorm},
		{"A13 key confusion", "seal/ring.go: open with the primary key what names an unknown one", threatKeys},
		{"A14 another app or tenant", "seal: leave app and tenant out of the derivation", threatScope},
		{"A15 resurrection after logout", "session/login.go Logout: do not tell the store", threatLogout},
		{"A16 a login from before the password changed", "session/restore.go admit: no Login in the request", threatPassword},
		{"A17 a role from before the downgrade", "session/change.go tell: do not Protect", threatDowngrade},
		{"A18 a signing oracle", "session/change.go rule: take any name", threatOracle},
		{"A19 session fixation", "session/login.go retire: do not tell the store", threatFixation},
		{"A20 requests that are repeated or prefetched", "session/grantpage.go show: TakeGrant; or use: take early data", threatPrefetch},
	} {
		t.Run(strings.Fields(row.threat)[0], func(t *testing.T) {
			row.run(t, newThreatened(t))
			if t.Failed() {
				t.Logf("%s is not kept. It is red too when: %s", row.threat, row.removal)
			}
		})
	}
}

func threatSpelling(t *testing.T, w *threatened) {
	p := w.set()
	slot := slices.Min(slices.Collect(maps.Keys(p.Blobs)))
	other := func(text string, i int) string { // the same bytes, if the last bits count for nothing
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		return text[:i] + string(alphabet[strings.IndexByte(alphabet, text[i])^1]) + text[i+1:]
	}
	for i := range p.Manifest {
		if p.Manifest[i] == '.' {
			continue
		}
		q := p
		q.Manifest = other(p.Manifest, i)
		w.refused("a changed manifest", q, seal.ErrMalformed, seal.ErrUnknownKey, seal.ErrAuth)
	}
	for _, change := range []func(string) string{
		func(s string) string { return other(s, len(s)-1) },
		func(s string) string { return s + "=" },
		func(s string) string { return s[:90] + "\r\n" + s[90:] },
		func(s string) string { return " " + s },
	} {
		q := p
		q.Blobs = maps.Clone(p.Blobs)
		q.Blobs[slot] = change(p.Blobs[slot])
		w.refused("a changed blob", q, seal.ErrMalformed, seal.ErrAuth)
	}
	w.restored(p)
}

func threatRollback(t *testing.T, w *threatened) {
	before := w.set()
	w.change("cart", []string{"paid"})
	must(t, w.s.Acknowledge(t.Context(), w.b, w.b.version))
	runFor(t, w.here, 1200*time.Millisecond)
	_, err := w.there.Restore(t.Context(), before)
	if !errors.Is(err, session.ErrSuperseded) {
		t.Errorf("a set from before what was acknowledged: %v", err)
	}
	w.restored(w.set())
}

func threatMixture(t *testing.T, w *threatened) {
	old := w.set()
	stranger, sb := shopping(t, w.here)
	foreign := sb.set(stranger.Holder())
	w.change("cart", []string{"paid"})
	now := w.set()
	mixed := now
	mixed.Blobs = old.Blobs
	w.refused("yesterday's blobs under today's manifest", mixed, session.ErrIncomplete)
	for slot, envelope := range now.Blobs {
		if old.Blobs[slot] == envelope {
			continue
		}
		mixed.Blobs = maps.Clone(now.Blobs)
		mixed.Blobs[slot] = old.Blobs[slot]
		w.refused("one older blob", mixed, session.ErrIncomplete)
	}
	mixed = now
	mixed.Blobs = foreign.Blobs
	w.refused("another session's blobs", mixed, session.ErrIncomplete)
	w.restored(now)
}

func threatOmission(t *testing.T, w *threatened) {
	p := w.set()
	for slot := range p.Blobs {
		q := p
		q.Blobs = maps.Clone(p.Blobs)
		delete(q.Blobs, slot)
		w.refused("without one", q, session.ErrIncomplete)
	}
	q := p
	q.Blobs = nil
	w.refused("without any", q, session.ErrIncomplete)
	w.restored(p)
}

func threatManifest(t *testing.T, w *threatened) {
	p := w.set()
	q := p
	q.Manifest = ""
	w.refused("no manifest", q, seal.ErrMalformed)
	for _, envelope := range p.Blobs {
		q.Manifest = envelope
		w.refused("a blob as the manifest", q, seal.ErrAuth)
	}
	w.restored(p)
	again := w.set() // by another attempt, on a node that does not have it
	if _, err := w.node().Restore(t.Context(), again); !errors.Is(err, session.ErrSuperseded) {
		t.Errorf("the same set again: %v", err)
	}
}

func threatReplay(t *testing.T, w *threatened) {
	envelope := w.envelopeOf(w.set(), "ticket")
	old := w.set()
	must(t, w.s.Take(t.Context(), "ticket", replay.Owner{1}, new(string)))
	if _, _, err := w.verifier().Take(t.Context(), envelope, seal.ID{}, time.Now().Add(time.Second), replay.Owner{2}); !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("the envelope alone: %v", err)
	}
	s := w.restored(old)
	if err := s.Take(t.Context(), "ticket", replay.Owner{2}, new(string)); !errors.Is(err, session.ErrNoAttribute) {
		t.Errorf("on another node: %v", err)
	}
	other, b := shopping(t, w.here) // the envelope first, the session then
	_, _, err := w.verifier().Take(t.Context(), w.envelopeOf(b.set(other.Holder()), "ticket"), seal.ID{}, time.Now().Add(time.Second), replay.Owner{1})
	must(t, err)
	if err := other.Take(t.Context(), "ticket", replay.Owner{2}, new(string)); !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("after the envelope alone: %v", err)
	}
}

func threatEffect(t *testing.T, w *threatened) {
	rolledBack := &transaction{Store: w.cluster.store}
	if outcome, err := w.s.TakeTx(t.Context(), rolledBack, "ticket", replay.Owner{1}, new(string)); outcome != replay.Won || err != nil {
		t.Fatalf("TakeTx = %v, %v", outcome, err)
	}
	s := w.restored(w.set()) // the node died before the commit
	committed := &transaction{Store: w.cluster.store}
	if outcome, err := s.TakeTx(t.Context(), committed, "ticket", replay.Owner{2}, new(string)); outcome != replay.Won || err != nil {
		t.Fatalf("what was rolled back is spent: %v, %v", outcome, err)
	}
	committed.commit(t)
	if outcome, err := s.TakeTx(t.Context(), &transaction{Store: w.cluster.store}, "ticket", replay.Owner{2}, new(string)); outcome != replay.Mine || err != nil {
		t.Errorf("after the commit: %v, %v", outcome, err)
	}
}

func threatTwoNodes(t *testing.T, w *threatened) {
	mine, thiefs := w.set(), w.set()
	w.restored(mine)
	third := w.node()
	if _, err := third.Restore(t.Context(), thiefs); !errors.Is(err, session.ErrSuperseded) {
		t.Errorf("another attempt: %v", err)
	}
	if _, err := third.Restore(t.Context(), mine); err != nil {
		t.Errorf("the same attempt, after its answer was lost: %v", err)
	}
}

func threatTheft(t *testing.T, w *threatened) {
	p := w.set()
	stranger, _ := shopping(t, w.here)
	p.Holder = stranger.Holder()
	w.refused("with a stranger's cookie", p, policy.ErrBinding)
	own := strings.Split(session.CookieValueForTest(w.s.Holder()), ".")
	guessed := strings.Split(session.CookieValueForTest(stranger.Holder()), ".")[1]
	r := request("GET", "/", &http.Cookie{Name: session.LoopbackCookieName, Value: own[0] + "." + guessed + ".0"})
	p.Holder, _ = w.here.Holder(r)
	w.refused("with the ID and a guessed secret", p, policy.ErrBinding)
	w.restored(w.set())
}

func threatTime(t *testing.T, w *threatened) {
	day := int64(24 * 60 * 60)
	for what, test := range map[string]struct {
		change func(*forgery)
		want   error
	}{
		"a manifest of tomorrow": {func(f *forgery) {
			f.manifest.IssuedAt += day
			f.manifest.Expires += day
			f.manifest.AbsoluteExpires += day
		}, policy.ErrNotYetValid},
		"an attribute of tomorrow": {func(f *forgery) { f.item("cart").claims.IssuedAt += day; f.item("cart").claims.Expires += day }, policy.ErrNotYetValid},
		"a set of yesterday":       {func(f *forgery) { f.manifest.IssuedAt -= day; f.manifest.Expires += day }, policy.ErrExpired},
	} {
		w.refused(what, w.forge(w.set(), test.change), test.want)
	}
	old := w.forge(w.set(), func(f *forgery) { f.item("login").claims.IssuedAt -= 3600; f.item("login").claims.Expires += day })
	r, err := w.there.Restore(t.Context(), old)
	if err != nil || len(r.Dropped) != 1 || r.Dropped[0].Name != "login" {
		t.Errorf("a value past today's TTL: dropped %v, %v", r.Dropped, err)
	}
}

func threatSize(t *testing.T, w *threatened) {
	large := strings.Repeat("A", seal.MaxEnvelope+1)
	big := func() string { // as large as one may be, and genuine
		p := w.forge(w.set(), func(f *forgery) { f.item("cart").claims.Value = []byte(`"` + strings.Repeat("x", 11<<10) + `"`) })
		return w.envelopeOf(p, "cart")
	}()
	w.store.since(t, "what is too large", nil, func() {
		for what, change := range map[string]func(*session.Presented){
			"a large manifest": func(p *session.Presented) { p.Manifest = large },
			"a large blob":     func(p *session.Presented) { p.Blobs["AAAAAAAAAAAA"] = large },
			"a long slot":      func(p *session.Presented) { p.Blobs[large] = big },
			"many blobs": func(p *session.Presented) {
				for i := range 65 {
					p.Blobs["AAAAAAAAAA"+string(rune('A'+i/8))+string(rune('A'+i%8))] = w.envelopeOf(w.set(), "cart")
				}
			},
			"much in all": func(p *session.Presented) {
				for i := range 17 {
					p.Blobs["AAAAAAAAAAA"+string(rune('A'+i))] = big
				}
			},
		} {
			p := w.set()
			change(&p)
			start := time.Now()
			w.refused(what, p, seal.ErrMalformed)
			if took := time.Since(start); took > time.Second {
				t.Errorf("%s: refused after %v", what, took)
			}
		}
	})
	w.restored(w.set())
}

func threatStorm(t *testing.T, w *threatened) {
	full, err := session.New(t.Context(), session.Config{Keys: w.ring, Policy: w.policy, Store: w.cluster.store, App: "shop", MaxSessions: 1})
	must(t, err)
	first, err := full.Start()
	must(t, err)
	p := w.set()
	w.store.since(t, "a full node", nil, func() {
		for range 100 {
			if _, err := full.Restore(t.Context(), p); session.Outward(err) != session.ErrUnavailable {
				t.Fatalf("a full node: %v", err)
			}
		}
	})
	must(t, first.Logout(t.Context()))
	if _, err := full.Restore(t.Context(), p); err != nil {
		t.Errorf("when there is room, the same attempt: %v", err)
	}
}

func threatKeys(t *testing.T, w *threatened) {
	p := w.set()
	header, rest, _ := strings.Cut(p.Manifest, ".")
	seen, err := seal.InspectUnverified(p.Manifest)
	must(t, err)
	raw, err := base64.RawURLEncoding.DecodeString(header)
	must(t, err)
	plain := string(raw)
	for what, changed := range map[string]string{
		"an unknown key":       strings.Replace(plain, seen.KeyID, "AAAAAAAA", 1),
		"another algorithm":    strings.Replace(plain, `"dir"`, `"A256KW"`, 1),
		"another encryption":   strings.Replace(plain, "A256GCM", "A128GCM", 1),
		"an embedded key":      strings.Replace(plain, `}`, `,"jwk":{"kty":"oct","k":"AAAA"}}`, 1),
		"compression":          strings.Replace(plain, `}`, `,"zip":"DEF"}`, 1),
		"members in disorder":  `{"enc":"A256GCM","alg":"dir"` + plain[strings.Index(plain, `,"kid"`):],
		"a signature in place": strings.Replace(plain, `"dir"`, `"HS256"`, 1),
	} {
		q := p
		q.Manifest = base64.RawURLEncoding.EncodeToString([]byte(changed)) + "." + rest
		want := seal.ErrMalformed
		if what == "an unknown key" {
			want = seal.ErrUnknownKey
		}
		w.refused(what, q, want)
	}
	w.restored(p)
}

func threatScope(t *testing.T, w *threatened) {
	p := w.set()
	for what, m := range map[string]*session.Manager{
		"another app": w.nodeOf("stage", ""), "another tenant": w.nodeOf("shop", "acme"), "names that run together": w.nodeOf("sho", "p"),
	} {
		if _, err := m.Restore(t.Context(), p); !errors.Is(err, seal.ErrAuth) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.restored(p)
}

func threatLogout(t *testing.T, w *threatened) {
	old := w.set()
	w.change("cart", []string{"more"})
	newest := w.set()
	s := w.restored(newest) // logged out on the node to which it moved
	must(t, s.Logout(t.Context()))
	for what, p := range map[string]session.Presented{"an older set": old, "the last one": newest, "by a new attempt": w.set()} {
		w.refused(what, p, session.ErrRevoked)
	}
	if err := w.s.Take(t.Context(), "ticket", replay.Owner{1}, new(string)); !errors.Is(err, session.ErrEnded) && !errors.Is(err, session.ErrMoved) {
		t.Errorf("the copy left behind: %v", err)
	}
}

func threatPassword(t *testing.T, w *threatened) {
	w.s = w.b.login(t, w.s, "ada")
	must(t, w.s.Save(t.Context()))
	before := w.set()
	must(t, w.there.EndLogins(t.Context(), "ada"))
	w.refused("a set from before", before, session.ErrRevoked)
	if err := w.s.Take(t.Context(), "ticket", replay.Owner{1}, new(string)); !errors.Is(err, session.ErrEnded) {
		t.Errorf("a right in the old session: %v", err)
	}
	w.s, w.b = shopping(t, w.here)
	w.s = w.b.login(t, w.s, "ada")
	must(t, w.s.Save(t.Context()))
	w.restored(w.set())
}

func threatDowngrade(t *testing.T, w *threatened) {
	w.change("role", "admin")
	must(t, w.s.Set(t.Context(), "rights", "all"))
	must(t, w.s.Save(t.Context()))
	admin := w.set()
	w.change("role", "guest")
	if _, err := w.there.Restore(t.Context(), admin); !errors.Is(err, session.ErrRolledBack) {
		t.Errorf("a set from before the downgrade: %v", err)
	}
	s := w.restored(w.set())
	if v, _ := get(t, s, "role"); v != "guest" {
		t.Errorf("restored as %q", v)
	}
	if _, err := get(t, s, "rights"); !errors.Is(err, session.ErrNoAttribute) {
		t.Errorf("what the server alone keeps came from the client: %v", err)
	}
}

func threatOracle(t *testing.T, w *threatened) {
	for _, name := range []string{"admin", "", "cart\"}", strings.Repeat("x", 1000)} {
		if err := w.s.Set(t.Context(), name, true); !errors.Is(err, policy.ErrNotAllowed) || len(err.Error()) > 200 {
			t.Errorf("Set(%.20q) = %v", name, err)
		}
	}
	p := w.forge(w.set(), func(f *forgery) { f.item("cart").claims.Name = "admin" })
	w.refused("an undeclared name", p, policy.ErrNotAllowed)
	w.restored(w.set())
}

func threatFixation(t *testing.T, w *threatened) {
	planted := w.set() // the attacker's own, put into the victim's browser
	w.s = w.b.login(t, w.s, "ada")
	must(t, w.s.Save(t.Context()))
	w.refused("the planted set", planted, session.ErrRevoked)
	stolen := w.set()
	stolen.Holder = planted.Holder
	w.refused("the victim's set with the planted cookie", stolen, policy.ErrBinding)
	if s := w.restored(w.set()); s.Subject() != "ada" {
		t.Errorf("the victim is %q", s.Subject())
	}
}

func threatPrefetch(t *testing.T, w *threatened) {
	text, err := session.IssueGrant(t.Context(), w.here, policy.Once[string]("reset"), "ada", 0)
	must(t, err)
	effects := 0
	page := &session.GrantPage[string]{
		Manager: w.there, Right: policy.Once[string]("reset"), Use: func(http.ResponseWriter, *http.Request, string) { effects++ },
	}
	ask := func(method, target, body string, early bool) int {
		r := httptest.NewRequest(method, "https://shop.example/reset"+target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if early {
			r.Header.Set("Early-Data", "1")
		}
		rec := httptest.NewRecorder()
		page.ServeHTTP(rec, r)
		return rec.Code
	}
	form := url.Values{session.GrantField: {text}}.Encode()
	for _, method := range []string{"GET", "HEAD", "GET"} {
		ask(method, "?"+form, form, false)
	}
	if code := ask("POST", "", form, true); code != http.StatusTooEarly || effects != 0 {
		t.Errorf("early data: %d, %d effects", code, effects)
	}
	ask("POST", "", form, false)
	ask("POST", "", form, false)
	if effects != 1 {
		t.Errorf("%d effects, want 1", effects)
	}
	h := w.there.Middleware(http.HandlerFunc(handler)) // a request that comes before its session
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if res := do(h, request("GET", "/", cookieOf(t, w.s.Holder())).WithContext(ctx)); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a request before its session: %d", res.StatusCode)
	}
}
