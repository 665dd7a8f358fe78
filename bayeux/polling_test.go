package bayeux_test

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

func TestHandshakeNegotiation(t *testing.T) {
	hs := func(rest string) string { return `[{"channel":"/meta/handshake","id":"7"` + rest + `}]` }
	tests := []struct {
		name, msg, err string
	}{
		{"plain", hs(`,"version":"1.0","supportedConnectionTypes":["long-polling"]`), ""},
		{"websocket", hs(`,"version":"1.0","supportedConnectionTypes":["x","websocket"]`), ""},
		{"beta minimum", hs(`,"version":"1.0","minimumVersion":"1.0beta","supportedConnectionTypes":["long-polling"]`), ""},
		{"old minimum", hs(`,"version":"1.0","minimumVersion":"0.9","supportedConnectionTypes":["long-polling"]`), ""},
		{"no version", hs(`,"supportedConnectionTypes":["long-polling"]`), "400::version_unsupported"},
		{"version 2", hs(`,"version":"2.0","supportedConnectionTypes":["long-polling"]`), "400::version_unsupported"},
		{"version 10", hs(`,"version":"10","supportedConnectionTypes":["long-polling"]`), "400::version_unsupported"},
		{"high minimum", hs(`,"version":"1.5","minimumVersion":"1.5","supportedConnectionTypes":["long-polling"]`), "400::version_unsupported"},
		{"no common type", hs(`,"version":"1.0","supportedConnectionTypes":["callback-polling"]`), "301::connection_types_unsupported"},
		{"no types", hs(`,"version":"1.0"`), "301::connection_types_unsupported"},
		{"empty types", hs(`,"version":"1.0","supportedConnectionTypes":[]`), "301::connection_types_unsupported"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, bayeux.Config{}).peer().one(tt.msg)
			if string(r.ID) != `"7"` || r.Version != "1.0" || len(r.SupportedConnectionTypes) != 2 || r.Advice == nil {
				t.Errorf("reply %+v lacks id, version, connection types or advice", r)
			}
			if tt.err != "" {
				wantError(t, r, tt.err)
				if r.ClientID != "" || r.Advice.Reconnect != bayeux.ReconnectNone {
					t.Errorf("clientId %q, advice %q on a refusal", r.ClientID, r.Advice.Reconnect)
				}
				return
			}
			wantOK(t, r)
			if len(r.ClientID) < 22 || strings.Trim(r.ClientID, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
				t.Errorf("clientId %q", r.ClientID)
			}
			if a := r.Advice; a.Reconnect != bayeux.ReconnectRetry || *a.Timeout != 30000 || *a.Interval != 0 {
				t.Errorf("advice %+v", a)
			}
		})
	}
}

func TestHandshakeAlwaysGivesANewSession(t *testing.T) {
	p := newRig(t, bayeux.Config{}).peer().ready()
	first := p.id
	r := p.one(`{"channel":"/meta/handshake","clientId":"$ID","version":"1.0","supportedConnectionTypes":["long-polling"]}`)
	wantOK(t, r)
	if r.ClientID == first {
		t.Error("the same clientId again")
	}
}

// What comes with a handshake is answered and not done, before or after it.
func TestHandshakeComesAlone(t *testing.T) {
	p := newRig(t, bayeux.Config{}).peer().ready()
	subscribe := `{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/a","id":"1"}`
	publish := `{"channel":"/b","clientId":"$ID","data":1,"id":"2"}`
	wantOK(t, p.subscribe("/b"))
	msgs := p.send("[" + subscribe + "," + handshakeMessage + "," + publish + "]")
	if len(msgs) != 3 {
		t.Fatalf("%d replies, want 3", len(msgs))
	}
	wantError(t, msgs[0], "400::not_with_a_handshake")
	wantOK(t, msgs[1])
	wantError(t, msgs[2], "400::not_with_a_handshake")
	wantOK(t, p.one(`{"channel":"/a","clientId":"$ID","data":1}`))
	if got := channelsOf(p); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

// Each reply names the client it goes to, and only that one's.
func TestRepliesNameTheirClient(t *testing.T) {
	p := newRig(t, bayeux.Config{}).peer().ready()
	for _, msg := range []string{
		`{"channel":"/meta/connect","clientId":"$ID","connectionType":"long-polling","advice":{"timeout":0}}`,
		`{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/a"}`,
		`{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/meta/x"}`,
		`{"channel":"/meta/unsubscribe","clientId":"$ID","subscription":"/a"}`,
		`{"channel":"/x","clientId":"$ID","data":1}`,
		`{"channel":"/meta/disconnect","clientId":"$ID"}`,
	} {
		if m := p.one(msg); m.ClientID != p.id {
			t.Errorf("%s: clientId %q, want %q", msg, m.ClientID, p.id)
		}
	}
	if m := p.one(`{"channel":"/meta/connect","clientId":"$ID"}`); m.ClientID != "" {
		t.Errorf("an unknown client is called %q", m.ClientID)
	}
}

func TestBodyForms(t *testing.T) {
	form := "application/x-www-form-urlencoded"
	msg := func(v string) string { return "message=" + url.QueryEscape(v) }
	unknown := `{"channel":"/meta/connect","clientId":"x","id":3}`
	tests := []struct {
		name, contentType, body string
		status, replies         int
	}{
		{"array", "application/json", `[` + unknown + `,` + unknown + `]`, 200, 2},
		{"object", "application/json", unknown, 200, 1},
		{"empty array", "application/json;charset=UTF-8", `[]`, 200, 0},
		{"spaces", "application/json", " \r\n[ ]\n", 200, 0},
		{"text/json", "text/json", unknown, 200, 1},
		{"form object", form, msg(unknown), 200, 1},
		{"form array", form, msg(`[` + unknown + `]`), 200, 1},
		{"form of several", form, msg(unknown) + "&" + msg(`[`+unknown+`]`), 200, 2},
		{"form with charset", form + "; charset=utf-8", msg(unknown), 200, 1},
		{"form without message", form, "a=b", 400, 0},
		{"form with garbage", form, "message=%zz", 400, 0},
		{"empty body", "application/json", ``, 400, 0},
		{"not JSON", "application/json", `{`, 400, 0},
		{"duplicate member", "application/json", `{"channel":"/a","channel":"/meta/connect"}`, 400, 0},
		{"case variant", "application/json", `{"Channel":"/a"}`, 400, 0},
		{"invalid UTF-8", "application/json", "{\"channel\":\"/\xc3\"}", 400, 0},
		{"text/plain", "text/plain", unknown, 415, 0},
		{"latin-1", "application/json;charset=iso-8859-1", unknown, 415, 0},
		{"bad type", "application/json;;=", unknown, 415, 0},
	}
	r := newRig(t, bayeux.Config{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := r.peer()
			status, h, msgs, err := p.do(context.Background(), request{body: tt.body, contentType: tt.contentType})
			if err != nil || status != tt.status || len(msgs) != tt.replies {
				t.Fatalf("status %d, %d replies, %v; want %d, %d", status, len(msgs), err, tt.status, tt.replies)
			}
			if h.Get("Cache-Control") != "no-store" {
				t.Error("reply may be cached")
			}
			for _, m := range msgs {
				if string(m.ID) != "3" {
					t.Errorf("id %s, want 3", m.ID)
				}
			}
		})
	}
}

func TestMethodsAndPaths(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	for _, path := range []string{"/bayeux", "/bayeux/", "/bayeux/handshake", "/bayeux/connect/"} {
		p := r.peer()
		p.url = "http://bayeux.test" + path
		p.handshake()
	}
	for method, want := range map[string]int{"GET": 405, "PUT": 405, "DELETE": 405, "OPTIONS": 204} {
		status, h, _, err := r.peer().do(context.Background(), request{method: method})
		if err != nil || status != want || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, %v, want %d", method, status, err, want)
		}
	}
}

func TestFirstConnectIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t, bayeux.Config{}).peer()
		p.handshake()
		start := time.Now()
		r := p.connect()[0]
		wantOK(t, r)
		if time.Since(start) > time.Second || r.Advice == nil || r.Advice.Reconnect != bayeux.ReconnectRetry {
			t.Errorf("after %v with advice %+v", time.Since(start), r.Advice)
		}
	})
}

func TestConnectIsHeld(t *testing.T) {
	tests := []struct {
		name, extra string
		batch       bool
		want        time.Duration
	}{
		{"to the timeout", ``, false, 30 * time.Second},
		{"to the client's shorter timeout", `,"advice":{"timeout":5000}`, false, 5 * time.Second},
		{"not longer than the server's", `,"advice":{"timeout":500000}`, false, 30 * time.Second},
		{"not at all", `,"advice":{"timeout":0}`, false, 0},
		{"not with a negative timeout", `,"advice":{"timeout":-5}`, false, 0},
		{"not in a batch", ``, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t, bayeux.Config{}).peer().ready()
				start := time.Now()
				msg := `{"channel":"/meta/connect","clientId":"$ID","id":"c"` + tt.extra + `}`
				if tt.batch {
					msg = `[` + msg + `,{"channel":"/meta/unsubscribe","clientId":"$ID","subscription":"/x"}]`
				}
				for _, m := range p.send(msg) {
					wantOK(t, m)
				}
				if got := time.Since(start); got != tt.want {
					t.Errorf("answered after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestHeldConnectWakesOnDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer().ready()
		wantOK(t, p.subscribe("/news"))
		held := p.held()
		time.Sleep(7 * time.Second) // longer than the http.Server's timeouts
		start := time.Now()
		if err := r.server.Publish("/news", map[string]int{"n": 1}); err != nil {
			t.Fatal(err)
		}
		msgs := <-held
		if time.Since(start) != 0 || len(msgs) != 2 {
			t.Fatalf("%d messages after %v, want 2 at once", len(msgs), time.Since(start))
		}
		got := msgs[0]
		if got.Channel != "/news" || string(got.Data) != `{"n":1}` || got.Successful != nil || got.ClientID != "" || got.ID != nil {
			t.Errorf("delivery %+v", got)
		}
		wantOK(t, msgs[1])
		// What comes between two connects waits.
		for i := range 3 {
			if err := r.server.Session(p.id).Deliver("/service/x", i); err != nil {
				t.Fatal(err)
			}
		}
		if msgs := p.connect(); len(msgs) != 4 || string(msgs[2].Data) != "2" {
			t.Errorf("got %d messages, want 3 and the reply", len(msgs))
		}
	})
}

func TestSecondConnectCancelsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer().ready()
		first := p.held()
		synctest.Wait()
		second := p.held()
		msgs := <-first
		wantError(t, msgs[0], "409::connect_replaced")
		if msgs[0].Advice.Reconnect != bayeux.ReconnectHandshake {
			t.Errorf("advice %+v", msgs[0].Advice)
		}
		if err := r.server.Session(p.id).Deliver("/x", 1); err != nil {
			t.Fatal(err)
		}
		msgs = <-second
		if len(msgs) != 2 || string(msgs[0].Data) != "1" {
			t.Fatalf("the second connect got %v", msgs)
		}
		wantOK(t, msgs[1])
		// The reply of the first may have left a stale "handshake".
		if msgs[1].Advice == nil || msgs[1].Advice.Reconnect != bayeux.ReconnectRetry {
			t.Errorf("advice %+v, want retry", msgs[1].Advice)
		}
		if r.server.Session(p.id) == nil {
			t.Error("session gone")
		}
	})
}

func TestDisconnectWakesConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer().ready()
		removed := make(chan bool, 2)
		r.server.Session(p.id).OnRemove(func(expired bool) { removed <- expired })
		held := p.held()
		synctest.Wait()
		wantOK(t, p.one(`{"channel":"/meta/disconnect","clientId":"$ID"}`))
		msgs := <-held
		if a := msgs[0].Advice; a == nil || a.Reconnect != bayeux.ReconnectNone {
			t.Errorf("advice %+v", a)
		}
		if expired := <-removed; expired {
			t.Error("OnRemove(true) after a disconnect")
		}
		wantError(t, p.connect()[0], "402::session_unknown")
		if len(removed) != 0 {
			t.Error("OnRemove twice")
		}
	})
}

func TestServerSideDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer().ready()
		sess := r.server.Session(p.id)
		held := p.held()
		synctest.Wait()
		sess.Disconnect()
		sess.Disconnect()
		if msgs := <-held; msgs[0].Advice.Reconnect != bayeux.ReconnectNone {
			t.Errorf("advice %+v", msgs[0].Advice)
		}
		if err := sess.Deliver("/a", 1); err != bayeux.ErrSessionClosed {
			t.Errorf("Deliver = %v, want ErrSessionClosed", err)
		}
		called := false
		sess.OnRemove(func(bool) { called = true })
		if !called {
			t.Error("OnRemove after removal was not called")
		}
	})
}

func TestSessionLapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{MaxInterval: 4 * time.Second, Interval: time.Second})
		removed := make(chan bool, 1)
		p := r.peer().ready()
		r.server.Session(p.id).OnRemove(func(expired bool) { removed <- expired })
		time.Sleep(4 * time.Second)
		wantOK(t, p.subscribe("/a")) // other messages extend it too
		time.Sleep(4 * time.Second)
		p.connect() // held for 30 s, longer than the session would live
		time.Sleep(4 * time.Second)
		if len(removed) != 0 {
			t.Fatal("removed too early")
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		select {
		case expired := <-removed:
			if !expired {
				t.Error("OnRemove(false) on a lapse")
			}
		default:
			t.Fatal("not removed")
		}
		if r.server.Session(p.id) != nil {
			t.Error("still there")
		}
		if err := r.server.Publish("/a", 1); err != nil {
			t.Error(err)
		}

		// One that never connects lapses too.
		q := r.peer()
		q.handshake()
		time.Sleep(6 * time.Second)
		wantError(t, q.connect()[0], "402::session_unknown")
	})
}

func TestLostClientFreesItsConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer().ready()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.do(ctx, request{body: `[{"channel":"/meta/connect","clientId":"` + p.id + `"}]`})
		}()
		synctest.Wait()
		cancel()
		<-done
		synctest.Wait()
		// Nothing is written to the dead request: the next one gets it.
		r.server.Session(p.id).Deliver("/x", 1)
		if msgs := p.connect(); len(msgs) != 2 {
			t.Fatalf("got %d messages, want the delivery and the reply", len(msgs))
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if r.server.Session(p.id) != nil {
			t.Error("session did not lapse")
		}
	})
}

func TestUnknownClient(t *testing.T) {
	tests := []struct {
		msg    string
		advice bool
	}{
		{`{"channel":"/meta/connect","clientId":"nobody","id":"1"}`, true},
		{`{"channel":"/meta/connect","id":"1"}`, true},
		{`{"channel":"/meta/subscribe","clientId":"nobody","subscription":"/a","id":"1"}`, false},
		{`{"channel":"/meta/unsubscribe","clientId":"nobody","subscription":"/a","id":"1"}`, false},
		{`{"channel":"/meta/disconnect","clientId":"nobody","id":"1"}`, false},
		{`{"channel":"/a","clientId":"__proto__","data":1,"id":"1"}`, false},
		{`{"channel":"/service/a","data":1,"id":"1"}`, false},
		{`{"channel":"/meta/x","data":1,"id":"1"}`, false},
	}
	r := newRig(t, bayeux.Config{})
	for _, tt := range tests {
		m := r.peer().one(tt.msg)
		wantError(t, m, "402::session_unknown")
		if string(m.ID) != `"1"` || m.ClientID != "" {
			t.Errorf("%s: id %s, clientId %q", tt.msg, m.ID, m.ClientID)
		}
		if got := m.Advice != nil && m.Advice.Reconnect == bayeux.ReconnectHandshake && *m.Advice.Interval == 0; got != tt.advice {
			t.Errorf("%s: advice %+v", tt.msg, m.Advice)
		}
	}
}

func TestHandshakeSpread(t *testing.T) {
	p := newRig(t, bayeux.Config{HandshakeSpread: 10 * time.Second}).peer()
	seen := map[int64]bool{}
	for range 20 {
		n := *p.one(`{"channel":"/meta/connect","clientId":"x"}`).Advice.Interval
		if n < 0 || n >= 10000 {
			t.Fatalf("interval %d", n)
		}
		seen[n] = true
	}
	if len(seen) < 5 {
		t.Errorf("20 clients got %d intervals", len(seen))
	}
}

func TestBrowserCookie(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	p := r.peer()
	_, h, _, err := p.do(context.Background(), request{body: handshakeMessage})
	if err != nil {
		t.Fatal(err)
	}
	c, err := http.ParseSetCookie(h.Get("Set-Cookie"))
	if err != nil || c.Name != "BAYEUX_BROWSER" || len(c.Value) < 22 || c.Path != "/" || !c.HttpOnly || c.Secure || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("Set-Cookie: %s", h.Get("Set-Cookie"))
	}
	p.ready()

	t.Run("a stolen clientId", func(t *testing.T) {
		thief := r.peer().withID(p.id)
		wantError(t, thief.connect()[0], "402::session_unknown")
		wantError(t, thief.subscribe("/a"), "402::session_unknown")
		wantError(t, thief.one(`{"channel":"/a","clientId":"$ID","data":1}`), "402::session_unknown")
		wantError(t, thief.one(`{"channel":"/meta/disconnect","clientId":"$ID"}`), "402::session_unknown")
		thief.handshake()
		wantError(t, thief.withID(p.id).connect()[0], "402::session_unknown")
		if r.server.Session(p.id) == nil {
			t.Error("session gone")
		}
	})
	t.Run("an existing value is kept", func(t *testing.T) {
		for value, kept := range map[string]bool{"0123456789abcdef": true, "1a-b_cD0123456789": true, "short": false, "0123456789abcdef\"": false, strings.Repeat("a", 65): false} {
			_, h, _, err := r.peer().do(context.Background(), request{body: handshakeMessage, header: http.Header{"Cookie": {"BAYEUX_BROWSER=" + value}}})
			if err != nil || (h.Get("Set-Cookie") == "") != kept {
				t.Errorf("value %q: Set-Cookie %q, %v", value, h.Get("Set-Cookie"), err)
			}
		}
	})
	t.Run("not needed when told so", func(t *testing.T) {
		r := newRig(t, bayeux.Config{InsecureTrustClientID: true})
		p := r.peer().ready()
		wantOK(t, r.peer().withID(p.id).subscribe("/a"))
	})
	t.Run("secure when told so", func(t *testing.T) {
		r := newRig(t, bayeux.Config{SecureCookie: true, CookieSameSite: http.SameSiteNoneMode})
		_, h, _, _ := r.peer().do(context.Background(), request{body: handshakeMessage})
		if c := h.Get("Set-Cookie"); !strings.Contains(c, "Secure") || !strings.Contains(c, "SameSite=None") {
			t.Errorf("Set-Cookie: %s", c)
		}
	})
}

// One call of http.Server's Shutdown ends it all, if it knows of ours: nothing held is
// waited for.
func TestHTTPServerShutdown(t *testing.T) {
	s, err := bayeux.NewServer(bayeux.Config{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	net := newMemNet()
	web := &http.Server{Handler: s}
	ours := make(chan error, 1) // net/http does not wait for it
	web.RegisterOnShutdown(func() { ours <- s.Shutdown(t.Context()) })
	go web.Serve(net)
	r := &rig{t: t, server: s, http: web, net: net}
	var polls []<-chan []*bayeux.Message
	for range 5 {
		p := r.peer().ready()
		polls = append(polls, p.held())
	}
	w := r.peer().ws().ready()
	time.Sleep(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	start := time.Now()
	if err := web.Shutdown(ctx); err != nil || time.Since(start) > 10*time.Second {
		t.Errorf("http.Server.Shutdown = %v after %v", err, time.Since(start))
	}
	for _, held := range polls {
		m := (<-held)[0]
		wantError(t, m, "402::session_unknown")
		if m.Advice == nil || m.Advice.Reconnect != bayeux.ReconnectHandshake {
			t.Errorf("advice %+v", m.Advice)
		}
	}
	if code := w.closed(); code != 1001 {
		t.Errorf("close code %d, want 1001", code)
	}
	if err := <-ours; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer().ready()
		w := r.peer().ws().ready()
		w.connect()
		removed := make(chan bool, 1)
		r.server.Session(p.id).OnRemove(func(expired bool) { removed <- expired })
		held := p.held()
		synctest.Wait()
		if err := r.server.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		m := (<-held)[0]
		wantError(t, m, "402::session_unknown")
		if m.Advice.Reconnect != bayeux.ReconnectHandshake {
			t.Errorf("advice %+v", m.Advice)
		}
		m, _ = w.next(bayeux.MetaConnect)
		wantError(t, m, "402::session_unknown")
		if code := w.closed(); code != 1001 {
			t.Errorf("close code %d, want 1001", code)
		}
		if <-removed {
			t.Error("OnRemove(true) at shutdown")
		}
		status, _, _, err := p.do(t.Context(), request{body: handshakeMessage})
		if err != nil || status != 503 {
			t.Errorf("after Shutdown: status %d, %v", status, err)
		}
		if _, _, err := r.peer().dialWS(nil); err == nil {
			t.Error("a WebSocket after Shutdown")
		}
	})
}

// slowEnd takes its time when a held connect ends.
type slowEnd time.Duration

func (d slowEnd) Observe(e bayeux.Event) {
	if e.Kind == bayeux.GaugePolls && e.N < 0 {
		time.Sleep(time.Duration(d))
	}
}

// A connect that ends with its time nearly over does not take its session along,
// however long it takes until it is answered.
func TestSessionOutlivesALateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{Observer: slowEnd(2 * time.Second)})
		p := r.peer().ready()
		held := p.held()
		time.Sleep(29 * time.Second)
		if err := r.server.Session(p.id).Deliver("/a", 1); err != nil {
			t.Fatal(err)
		}
		if msgs := <-held; len(msgs) != 2 {
			t.Fatalf("%d messages, want 2", len(msgs))
		}
		if r.server.Session(p.id) == nil {
			t.Error("the session is gone")
		}
	})
}

func TestLongResponsesHaveTheirLength(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	p := r.peer().ready()
	for _, n := range []int{10, 100_000} {
		r.server.Session(p.id).Deliver("/a", strings.Repeat("x", n))
		_, h, msgs, err := p.do(t.Context(), request{body: `{"channel":"/meta/connect","clientId":"` + p.id + `"}`})
		if err != nil || len(msgs) != 2 {
			t.Fatalf("%d messages, %v", len(msgs), err)
		}
		if size, err := strconv.Atoi(h.Get("Content-Length")); err != nil || size < n {
			t.Errorf("%d bytes came with Content-Length %q", n, h.Get("Content-Length"))
		}
	}
}
