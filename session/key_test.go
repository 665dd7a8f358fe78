package session_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

const keyPolicy = `{"version":1,"session":{"idle":"30m","absolute":"12h","leeway":"1s"},"attributes":{
	"cart":{"ttl":"1h"},"login":{"ttl":"1h","binding":"key"}}}`

// keyholder is a visitor over HTTP with a session and a key. The session is bound to
// the key, and the browser holds the newest set.
type keyholder struct {
	*cluster
	t      *testing.T
	home   *session.Manager
	s      *session.Session
	cookie *http.Cookie
	key    *ecdsa.PrivateKey
	b      *browser
	before session.WireRequest // a set from before the session had a key
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func newKeyholder(t *testing.T, rules ...string) *keyholder {
	t.Helper()
	o := &keyholder{cluster: newCluster(t), t: t, key: newKey(t), b: &browser{}}
	o.policy = testkit.Policy(t, append(rules, keyPolicy)[0])
	o.home = o.node()
	var err error
	o.s, err = o.home.Start()
	must(t, err)
	o.cookie = cookieOf(t, o.s.Holder())
	must(t, o.s.Set(t.Context(), "cart", []string{"tea"}))
	if err := o.s.Set(t.Context(), "login", "ada"); !errors.Is(err, session.ErrNoKey) || session.HTTPStatus(err) != http.StatusConflict {
		t.Fatalf("a bound attribute before there is a key: %v", err)
	}
	must(t, o.s.Save(t.Context()))
	early := &browser{}
	must(t, o.s.Attach(early)) // no carrier would
	must(t, o.s.Acknowledge(t.Context(), early, nil))
	o.before = wire(early.set(o.s.Holder()))
	o.s.Detach(early)

	o.sync(o.home)
	if o.s.Key() == "" {
		t.Fatal("the key is not registered")
	}
	must(t, o.s.Set(t.Context(), "login", "ada"))
	o.sync(o.home)
	return o
}

// sync asks for the newest set and keeps it.
func (o *keyholder) sync(m *session.Manager) {
	o.t.Helper()
	_, a := o.bring(m, o.proved(m, session.WireRequest{V: 1}))
	o.b.take(o.t, a.Push)
}

func (o *keyholder) bring(m *session.Manager, r session.WireRequest) (int, restoreAnswer) {
	o.t.Helper()
	res, a := bring(o.t, m.RestoreHandler(), r, o.cookie)
	return res.StatusCode, a
}

// request presents the set that the browser holds, by a new attempt.
func (o *keyholder) request() session.WireRequest { return wire(o.b.set(o.s.Holder())) }

// challenge is what m answers to r without a proof.
func (o *keyholder) challenge(m *session.Manager, r session.WireRequest) string {
	o.t.Helper()
	r.Proof = ""
	status, a := o.bring(m, r)
	if status != http.StatusServiceUnavailable || a.State != session.StateRetry || a.Challenge == "" || a.Push != nil || a.Gen != "" {
		o.t.Fatalf("without a proof: %d %+v", status, a)
	}
	return a.Challenge
}

// prove adds a proof over the challenge.
func (o *keyholder) prove(r session.WireRequest, challenge string) session.WireRequest {
	o.t.Helper()
	proof, err := session.Prove(o.key, challenge, r.Attempt, r.Manifest)
	must(o.t, err)
	r.Proof = proof
	return r
}

func (o *keyholder) proved(m *session.Manager, r session.WireRequest) session.WireRequest {
	o.t.Helper()
	return o.prove(r, o.challenge(m, r))
}

// refused wants that m refuses r, and has nothing of the session.
func (o *keyholder) refused(what string, m *session.Manager, r session.WireRequest) {
	o.t.Helper()
	if status, a := o.bring(m, r); status != http.StatusUnauthorized || a.State != session.StateRefused || a.Push != nil || a.Gen != "" || a.Challenge != "" {
		o.t.Errorf("%s: %d %+v", what, status, a)
	}
	if _, here := m.Live(o.s.Holder()); here && m != o.home {
		o.t.Errorf("%s: the session was restored", what)
	}
}

// restored wants that m restores r, with all attributes.
func (o *keyholder) restored(what string, m *session.Manager, r session.WireRequest) *session.Session {
	o.t.Helper()
	status, a := o.bring(m, r)
	s, here := m.Live(o.s.Holder())
	if status != http.StatusOK || a.State != session.StateRestored || !here {
		o.t.Fatalf("%s: %d %+v", what, status, a)
	}
	o.b.take(o.t, a.Push)
	if login, err := get(o.t, s, "login"); err != nil || login != "ada" || s.Key() != o.s.Key() {
		o.t.Errorf("%s: login %q, %v; key %q", what, login, err, s.Key())
	}
	return s
}

func TestKeyMovesWithTheSession(t *testing.T) {
	o := newKeyholder(t)
	for range 3 { // each node learns the key from the manifest
		m := o.node()
		o.restored("the owner", m, o.proved(m, o.request()))
	}
}

// The set that a client gets as soon as it has proved its key is bound to it.
func TestFirstSetNamesTheKey(t *testing.T) {
	o := newKeyholder(t)
	o.home = o.node()
	s, err := o.home.Start()
	must(t, err)
	must(t, s.Set(t.Context(), "cart", []string{"tea"}))
	must(t, s.Save(t.Context()))
	o.s, o.cookie, o.b = s, cookieOf(t, s.Holder()), &browser{}
	o.sync(o.home)
	o.challenge(o.node(), o.request())
}

// A long proof is refused unread.
func TestLongProofIsNotRead(t *testing.T) {
	long := strings.Repeat("A", 100<<10) + "." + strings.Repeat("A", 100<<10) + ".A"
	if n := testing.AllocsPerRun(10, func() { _ = session.ReadProofForTest(long) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A challenge is a step, no refusal: it is in no log of refusals.
func TestChallengeIsNoRefusal(t *testing.T) {
	o := newKeyholder(t)
	var log strings.Builder
	m, err := session.New(t.Context(), session.Config{
		Keys: o.ring, Policy: o.policy, Store: o.store, App: "shop", Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	must(t, err)
	o.challenge(m, o.request())
	if log.Len() != 0 {
		t.Errorf("log: %s", log.String())
	}
}

// sign makes any JWS with the owner's key.
func sign(t *testing.T, key *ecdsa.PrivateKey, header, claims string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	must(t, err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func decoded(t *testing.T, proof string) (header, claims string) {
	t.Helper()
	parts := strings.Split(proof, ".")
	h, err1 := base64.RawURLEncoding.DecodeString(parts[0])
	c, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, errors.Join(err1, err2))
	return string(h), string(c)
}

// What is signed is this request, for this session and application, by this key.
func TestProofIsOfThisRequestAndKey(t *testing.T) {
	o := newKeyholder(t)
	older := o.request()
	must(t, o.s.Set(t.Context(), "cart", []string{"coffee"}))
	o.sync(o.home)
	stranger := newKeyholder(t)
	m := o.node()
	r := o.request()
	challenge := o.challenge(m, r)
	foreignApp, err := o.ring.Challenge(seal.Scope{App: "bank"}, o.s.ID(), time.Now())
	must(t, err)
	foreignSession, err := o.ring.Challenge(seal.Scope{App: "shop"}, seal.NewID(), time.Now())
	must(t, err)
	foreignRing := stranger.challenge(stranger.node(), stranger.request())
	other := r
	other.Attempt = seal.NewID().String()
	oldManifest := r
	oldManifest.Manifest = older.Manifest
	for name, bad := range map[string]session.WireRequest{
		"another key":             func() session.WireRequest { return stranger.prove(r, challenge) }(),
		"a proof of another try":  func() session.WireRequest { q := r; q.Proof = o.prove(other, challenge).Proof; return q }(),
		"a proof of an older set": func() session.WireRequest { q := r; q.Proof = o.prove(oldManifest, challenge).Proof; return q }(),
		"a proof for no set": func() session.WireRequest {
			q := r
			q.Proof = o.prove(session.WireRequest{}, challenge).Proof
			return q
		}(),
		"another application":       o.prove(r, foreignApp),
		"another session":           o.prove(r, foreignSession),
		"a challenge of nobody's":   o.prove(r, challenge[:len(challenge)-2]+"AA"),
		"no challenge":              o.prove(r, ""),
		"a challenge and some more": o.prove(r, challenge+"A"),
	} {
		o.refused(name, m, bad)
	}
	// A challenge under a key that this ring does not have may be from before a rotation.
	if _, a := o.bring(m, o.prove(r, foreignRing)); a.State != session.StateRetry || a.Challenge == "" {
		t.Errorf("a challenge of another ring: %+v", a.WireReply)
	}
	o.restored("the good one", m, o.prove(r, challenge))
}

// A proof has one spelling.
func TestProofHasOneSpelling(t *testing.T) {
	o := newKeyholder(t)
	m := o.node()
	r := o.request()
	good := o.proved(m, r)
	header, claims := decoded(t, good.Proof)
	swap := func(text, a, b string) string {
		if !strings.Contains(text, a) {
			t.Fatalf("%s has no %s", text, a)
		}
		return strings.Replace(text, a, b, 1)
	}
	parts := strings.Split(good.Proof, ".")
	for name, proof := range map[string]string{
		"none":                  sign(t, o.key, swap(header, `"ES256"`, `"none"`), claims),
		"no signature":          parts[0] + "." + parts[1] + ".",
		"zeros":                 parts[0] + "." + parts[1] + "." + strings.Repeat("A", 86),
		"an HMAC's name":        sign(t, o.key, swap(header, `"ES256"`, `"HS256"`), claims),
		"a DPoP proof":          sign(t, o.key, swap(header, `sealed-proof+jwt`, `dpop+jwt`), claims),
		"no type":               sign(t, o.key, swap(header, `,"typ":"sealed-proof+jwt"`, ``), claims),
		"a member more":         sign(t, o.key, swap(header, `{"alg"`, `{"kid":"x","alg"`), claims),
		"a member at the end":   sign(t, o.key, swap(header, `+jwt"}`, `+jwt","b64":false}`), claims),
		"white space":           sign(t, o.key, swap(header, `{"alg"`, `{ "alg"`), claims),
		"another curve":         sign(t, o.key, swap(header, `P-256`, `P-384`), claims),
		"no key":                sign(t, o.key, `{"alg":"ES256","typ":"sealed-proof+jwt"}`, claims),
		"no header":             sign(t, o.key, ``, claims),
		"no point of the curve": sign(t, o.key, header[:60]+"AAAAAAAA"+header[68:], claims),
		"another key's name":    sign(t, newKey(t), header, claims),
		"a claim more":          sign(t, o.key, header, swap(claims, `"}`, `","x":"y"}`)),
		"claims in another order": sign(t, o.key, header, `{"attempt"`+claims[strings.Index(claims, `:"`+r.Attempt):len(claims)-1]+
			`,"nonce":"`+claims[len(`{"nonce":"`):][:seal.ChallengeLen]+`"}`),
		"no claims":           sign(t, o.key, header, ``),
		"a part more":         good.Proof + ".",
		"a part less":         parts[0] + "." + parts[2],
		"padding":             good.Proof + "==",
		"a line break":        good.Proof + "\n",
		"a line break within": parts[0] + "\r\n." + parts[1] + "." + parts[2],
		"too long":            good.Proof + strings.Repeat("A", 2048),
		"dots":                strings.Repeat(".", 2048),
	} {
		q := r
		q.Proof = proof
		o.refused(name, m, q)
	}
	p := o.b.set(o.s.Holder())
	p.Attempt = attemptOf(t, r)
	for step, proof := range testkit.Neighbours(good.Proof, "A_.=\n") {
		p.Proof = proof
		if _, err := m.Restore(t.Context(), p); !errors.Is(err, policy.ErrBinding) {
			t.Fatalf("%s: %v", step, err)
		}
	}
	o.restored("the good one", m, good)
}

func attemptOf(t *testing.T, r session.WireRequest) (owner session.Owner) {
	t.Helper()
	id, err := seal.ParseID(r.Attempt)
	must(t, err)
	return session.Owner(id)
}

// A challenge is good for a minute by the clock of whoever checks it, and then
// there is a new one. A node whose clock is ahead by the leeway may have made it.
func TestChallengeExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newKeyholder(t)
		time.Sleep(pastEpoch)
		m, r := o.node(), o.request()
		late := o.proved(m, r)
		time.Sleep(time.Minute)
		_, a := o.bring(m, late)
		if a.State != session.StateRetry || a.Challenge == "" {
			t.Fatalf("after a minute: %+v", a.WireReply)
		}
		soon, err := o.ring.Challenge(seal.Scope{App: "shop"}, o.s.ID(), time.Now().Add(2*time.Second))
		must(t, err)
		if _, a := o.bring(m, o.prove(r, soon)); a.State != session.StateRetry {
			t.Errorf("from the future: %+v", a.WireReply)
		}
		ahead, err := o.ring.Challenge(seal.Scope{App: "shop"}, o.s.ID(), time.Now().Add(time.Second))
		must(t, err)
		if _, b := o.bring(o.home, o.prove(session.WireRequest{V: 1}, ahead)); b.Push == nil {
			t.Errorf("of a clock that is ahead by the leeway: %+v", b.WireReply)
		}
		last := o.prove(r, a.Challenge)
		time.Sleep(59 * time.Second)
		o.restored("after 59 s", m, last)
	})
}

// Who saw a whole request can repeat it within the minute, and gets what its
// sender's own repetition would get: once something came of it, nothing.
func TestReplayedProofGainsNothing(t *testing.T) {
	o := newKeyholder(t)
	m := o.node()
	r := o.proved(m, o.request())
	o.restored("the owner", m, r)
	o.refusedOrJoined(m, r)
	fork := r
	fork.Attempt = seal.NewID().String()
	o.refused("the proof in another try", o.node(), fork)

	// The clean retry: the first node may have died with its answer on the way.
	n := o.node()
	o.restored("the same elsewhere", n, r)
	s, _ := n.Live(o.s.Holder())
	b := &browser{}
	must(t, s.Attach(b))
	must(t, s.Acknowledge(t.Context(), b, nil))
	must(t, s.Acknowledge(t.Context(), b, b.version))
	runFor(t, n, 1200*time.Millisecond)
	o.refused("once the answer arrived", o.node(), r)
}

// refusedOrJoined: where the session lives a repetition restores nothing.
func (o *keyholder) refusedOrJoined(m *session.Manager, r session.WireRequest) {
	o.t.Helper()
	before, _ := m.Live(o.s.Holder())
	if _, a := o.bring(m, r); a.State != session.StateNone {
		o.t.Errorf("the same again: %+v", a.WireReply)
	}
	if after, _ := m.Live(o.s.Holder()); after != before {
		o.t.Error("the session was restored again")
	}
}

// The manifest decides, whatever today's policy says.
func TestKeyIsNoMatterOfPolicy(t *testing.T) {
	o := newKeyholder(t)
	r := o.request()
	o.policy = testkit.Policy(t, strings.Replace(keyPolicy, `"binding":"key"`, `"binding":"cookie"`, 1))
	m := o.node()
	challenge := o.challenge(m, r)
	q := r
	q.Proof, _ = session.Prove(newKey(t), challenge, r.Attempt, r.Manifest)
	o.refused("another key", m, q)
	o.restored("the owner", m, o.prove(r, challenge))
	// A set from before, to be let in where the session lives: it is no proof.
	if _, a := o.bring(m, o.before); a.State != session.StateRetry || a.Push != nil {
		t.Errorf("a set without a key, where the session has one: %+v", a.WireReply)
	}
	p := session.Presented{Holder: o.s.Holder(), Attempt: attemptOf(t, o.before), Manifest: o.before.Manifest, Blobs: o.before.Blobs}
	if got, err := o.node().Restore(t.Context(), p); !errors.Is(err, session.ErrSuperseded) {
		t.Errorf("a set without a key, elsewhere: %+v, %v", got, err)
	}
}

// A set from before the session had a key is refused where keys are wanted, with
// and without a proof: otherwise whoever has it brings his own key.
func TestSetWithoutAKeyIsRefused(t *testing.T) {
	o := newKeyholder(t)
	o.refused("no proof", o.node(), o.before)
	challenge := o.challenge(o.node(), o.request())
	o.refused("the owner's proof", o.node(), o.prove(o.before, challenge))
	thief := *o
	thief.key = newKey(t)
	o.refused("a thief's proof", o.node(), thief.prove(o.before, challenge))
	p := session.Presented{Holder: o.s.Holder(), Attempt: attemptOf(t, o.before), Manifest: o.before.Manifest, Blobs: o.before.Blobs}
	if _, err := o.home.Restore(t.Context(), p); !errors.Is(err, policy.ErrBinding) {
		t.Errorf("where it lives: %v", err)
	}
}

// Who comes without a set to a node where the session lives gets none without
// the key; the first key is the session's.
func TestJoiningNeedsTheKey(t *testing.T) {
	o := newKeyholder(t)
	for name, r := range map[string]session.WireRequest{
		"no set":    {V: 1},
		"a version": {V: 1, Gen: "0.1"},
		"a bad set": {V: 1, Attempt: seal.NewID().String(), Manifest: "x", Blobs: map[string]string{}},
	} {
		challenge := o.challenge(o.home, r)
		thief := *o
		thief.key = newKey(t)
		o.refused(name+", another key", o.home, thief.prove(r, challenge))
		foreign := r
		foreign.Proof = o.prove(o.request(), challenge).Proof
		o.refused(name+", a proof of another request", o.home, foreign)
		if _, a := o.bring(o.home, o.prove(r, challenge)); a.Push == nil {
			t.Errorf("%s, the owner: %+v", name, a)
		}
	}
	o.refused("another protocol", o.home, session.WireRequest{V: 2}) // and not asked for a proof
	if o.s.Key() == "" || len(o.s.Key()) != 43 {
		t.Errorf("key %q", o.s.Key())
	}
}

// Nobody but the holder is even asked for a proof.
func TestStrangersGetNoChallenge(t *testing.T) {
	o := newKeyholder(t)
	stranger := newKeyholder(t)
	o.cookie = stranger.cookie
	o.refused("another session's cookie", o.node(), o.request())
	id := strings.SplitN(o.s.ID().String(), ".", 2)[0]
	o.cookie = &http.Cookie{Name: session.LoopbackCookieName, Value: id + "." + seal.NewID().String() + ".0"}
	o.refused("the id without the secret", o.node(), o.request())
	if _, a := o.bring(o.home, session.WireRequest{V: 1}); a.State != session.StateNone || a.Challenge != "" || a.Gen != "" {
		t.Errorf("the id without the secret, where it lives: %+v", a)
	}
}

// A login gives the session a new id and cookie; who proves the same key goes on with it.
func TestKeySurvivesALogin(t *testing.T) {
	o := newKeyholder(t)
	old := o.s
	o.s = login(t, o.s, "ada")
	if o.s.Key() != old.Key() || o.s.Key() == "" {
		t.Fatalf("key %q, was %q", o.s.Key(), old.Key())
	}
	must(t, o.s.Set(t.Context(), "login", "ada"))
	o.cookie = cookieOf(t, o.s.Holder())
	o.sync(o.home)
	m := o.node()
	o.restored("after a login", m, o.proved(m, o.request()))
}

// Whoever planted a session may have registered his key with it. After a login it signs
// for nothing: the next one that is proved takes its place, and no set names the planted
// one. What is bound to a key goes along to no other.
func TestPlantedKeyEndsWithALogin(t *testing.T) {
	for name, renew := range map[string]func(*session.Session) *session.Session{
		"a login":   func(s *session.Session) *session.Session { return login(t, s, "ada") },
		"a renewal": func(s *session.Session) *session.Session { s, err := s.Renew(t.Context()); must(t, err); return s },
	} {
		planter := newKeyholder(t, strings.Replace(keyPolicy, `"cart"`, `"wallet":{"binding":"key"},"cart"`, 1))
		must(t, planter.s.Set(t.Context(), "wallet", "the planter's"))
		planter.sync(planter.home)
		planted := planter.s.Key()
		planter.s = renew(planter.s)
		must(t, planter.s.Set(t.Context(), "login", "ada")) // in the request that logs in
		must(t, planter.s.Save(t.Context()))
		planter.cookie = cookieOf(t, planter.s.Holder()) // stolen

		victim := *planter
		victim.key, victim.b = newKey(t), &browser{}
		if _, a := victim.bring(victim.home, victim.proved(victim.home, session.WireRequest{V: 1})); a.State != session.StateNone || a.Push == nil {
			t.Fatalf("%s: the victim's browser gets %+v", name, a.WireReply)
		} else {
			victim.b.take(t, a.Push)
		}
		if victim.s.Key() == planted {
			t.Fatalf("%s: the key is the planter's", name)
		}
		if wallet, err := get(t, victim.s, "wallet"); !errors.Is(err, session.ErrNoAttribute) {
			t.Errorf("%s: another key's wallet is here: %q, %v", name, wallet, err)
		}
		if cart, err := get(t, victim.s, "cart"); err != nil || cart != "tea" {
			t.Errorf("%s: cart %q, %v", name, cart, err)
		}
		planter.b = victim.b // stolen as well
		r := planter.request()
		planter.refused(name+": the planter, where it lives", planter.home, planter.proved(planter.home, session.WireRequest{V: 1}))
		planter.refused(name+": the planter, elsewhere", planter.node(), planter.proved(planter.node(), r))
		m := victim.node()
		victim.restored(name+": the victim", m, victim.proved(m, victim.request()))
	}
}

// A client that was let in gets no set from before its key was the session's.
func TestClientGetsNoSetOfAFormerKey(t *testing.T) {
	o := newKeyholder(t)
	o.s = login(t, o.s, "ada")
	o.cookie = cookieOf(t, o.s.Holder())
	must(t, o.s.Save(t.Context())) // it names the former key
	former := *o
	o.key = newKey(t)
	r := request("POST", "/bayeux", o.cookie)
	_, reply := o.home.Present(t.Context(), r, session.WireRequest{V: 1})
	if s, _ := o.home.Present(t.Context(), r, o.prove(session.WireRequest{V: 1}, reply.Challenge)); s != o.s {
		t.Fatal("not let in")
	}
	b := &browser{}
	must(t, o.s.Attach(b))
	must(t, o.s.Acknowledge(t.Context(), b, nil))
	if len(b.pushes) != 1 || b.pushes[0].Delta || b.version == nil {
		t.Fatalf("%d pushes, want one complete set", len(b.pushes))
	}
	former.b = b
	former.refused("the former key", o.node(), former.proved(o.node(), former.request()))
}

// Without a rule that binds to a key nobody is asked for one, and a proof that
// nobody asked for is of no meaning: another node may have asked.
func TestNobodyIsAskedForAKeyInVain(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	m := c.node()
	r := wire(b.set(s.Holder()))
	r.Proof = "x"
	if _, a := bring(t, m.RestoreHandler(), r, cookieOf(t, s.Holder())); a.State != session.StateRestored {
		t.Errorf("with a proof of nothing: %+v", a.WireReply)
	}
	if r, _ := m.Live(s.Holder()); r == nil || r.Key() != "" {
		t.Error("the session has a key")
	}
}

// Prove signs with a key on P-256 alone.
func TestProveRefusesOtherCurves(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	if proof, err := session.Prove(key, "c", "", ""); err == nil {
		t.Errorf("signed with P-384: %s", proof)
	}
}
