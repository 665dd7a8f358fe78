package bayeux_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"testing"
	"testing/synctest"

	"github.com/sealedblob/sealedblob/bayeux"
)

const subscribeA = `{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/a","id":"s"}`

// Faye opens its WebSocket while it shakes hands by HTTP, and the upgrade has no
// cookie then. Its first message is not lost: the WebSocket is closed, and comes again
// with the cookie. That is no way in for who has the clientId alone.
func TestWebSocketThatCameTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		stranger, stray := r.peer(), r.peer()
		early := stray.ws()
		p := r.peer().ready()

		early.id = p.id
		early.send(subscribeA)
		if code := early.closed(); code != 1013 {
			t.Errorf("close code %d, want 1013", code)
		}
		if len(early.frames) > 0 {
			t.Errorf("answered %+v", <-early.frames)
		}
		again := p.ws()
		again.id = p.id
		again.send(subscribeA)
		m, _ := again.next(bayeux.MetaSubscribe)
		wantOK(t, m)

		// Once; and not who has another cookie.
		for _, other := range []*peer{stranger, stray} {
			w := other.ws()
			w.id = p.id
			w.send(subscribeA)
			m, _ := w.next(bayeux.MetaSubscribe)
			wantError(t, m, "402::session_unknown")
			w.connect()
			m, _ = w.next(bayeux.MetaConnect)
			wantError(t, m, "402::session_unknown")
		}
	})
}

// The browser keeps the cookies of both, whichever came last, and is the owner of what
// either began.
func TestCookiesOfHandshakeAndUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer()
		other := r.peer().ready()
		late := p.ws() // as if it had been on its way during the handshake
		jar := p.http.Jar
		p.http.Jar, _ = cookiejar.New(nil)
		p.ready()
		page, _ := url.Parse(p.url)
		for _, c := range jar.Cookies(page) {
			p.http.Jar.SetCookies(page, []*http.Cookie{c})
		}
		if n := len(p.http.Jar.Cookies(page)); n != 2 {
			t.Fatalf("%d cookies, want 2", n)
		}
		w := p.ws()
		w.id = p.id
		w.send(subscribeA)
		m, _ := w.next(bayeux.MetaSubscribe)
		wantOK(t, m)
		late.ready()
		late.conn.NetConn().Close()
		synctest.Wait()
		wantOK(t, p.withID(late.id).one(subscribeA))
		wantError(t, p.withID(other.id).one(subscribeA), "402::session_unknown")
	})
}

// A session that was made over a WebSocket has no other: it is not closed, so that
// a client without cookies learns at once that it must shake hands.
func TestWebSocketWithoutCookiesIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		first := r.peer().ws().ready()
		first.conn.NetConn().Close()
		second := r.peer().ws()
		second.id = first.id
		second.connect()
		m, _ := second.next(bayeux.MetaConnect)
		wantError(t, m, "402::session_unknown")
		if m.Advice == nil || m.Advice.Reconnect != bayeux.ReconnectHandshake {
			t.Errorf("advice %+v", m.Advice)
		}

		// Nor one that came with a cookie, of whomever.
		p := r.peer().ready()
		w, _, err := r.peer().dialWS(http.Header{"Cookie": {"BAYEUX_BROWSER=0123456789abcdef"}})
		if err != nil {
			t.Fatal(err)
		}
		w.id = p.id
		w.connect()
		m, _ = w.next(bayeux.MetaConnect)
		wantError(t, m, "402::session_unknown")
	})
}
