package sessionext_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/sessionext"
)

// A login gives the session a new ID. The client that is connected shakes hands with
// the new cookie, over a WebSocket of its own too, and what it then holds restores; also
// when the session had been restored before, so that its fence was higher.
func TestClientGoesOnAfterALogin(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			v := w.visitor(transport).connect()
			v.blobs(1)
			for _, fence := range []string{"no restore", "a restore"} {
				if fence == "a restore" { // that of the round before
					v.wait("set of the new fence", func(h sessionext.Held, _ sessionext.Reply) bool { return h.Version.Fence > 0 })
				}
				before, _ := v.keeper.Held()
				handshake := v.client.ID()
				v.do("/set?login")
				after := v.wait("set of the renewed session", func(h sessionext.Held, _ sessionext.Reply) bool {
					return h.Version.Fence == 0 && h.Manifest != "" && h.Manifest != before.Manifest
				})
				if v.client.ID() == handshake || after.Version.Gen <= before.Version.Gen {
					t.Errorf("after %s: client %s went on as %s, %v after %v", fence, handshake, v.client.ID(), after.Version, before.Version)
				}
				v.do("/set?name=login&value=ada")
				v.blobs(2)
				w.move(nil)
				v.wait("restore", state(sessionext.StateRestored))
				if got := v.do("/get?name=cart") + v.do("/get?name=login"); got != "teaada" {
					t.Errorf("after %s: restored %q", fence, got)
				}
			}
		})
	}
}

// What it acknowledges after a login counts for the renewed session.
func TestAcknowledgementsAfterALogin(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			v := w.visitor(transport).connect()
			before := v.blobs(1)
			v.do("/set?login")
			old := v.wait("set of the renewed session", func(h sessionext.Held, _ sessionext.Reply) bool { return before.Version.Less(h.Version) })
			time.Sleep(50 * time.Millisecond) // its connect has acknowledged that
			v.do("/set?name=cart&value=paid")
			newer := v.wait("the push", func(h sessionext.Held, _ sessionext.Reply) bool { return old.Version.Less(h.Version) })
			w.store.awaitFloor(t, newer.Version)
			v.keeper.Put(old)
			w.move(nil)
			v.wait("a refusal", state(sessionext.StateRefused))
		})
	}
}

// Who attached a client to a session before its owner logged in gets nothing of the
// login, and his silence holds no floor down.
func TestClientOfAStrangerSeesNoLogin(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			seen := &counter{}
			stranger := w.visitor(transport, seen).connect()
			stranger.blobs(1)
			owner := w.visitor(transport)
			at, err := url.Parse(w.server.URL)
			must(t, err)
			owner.http.Jar.SetCookies(at, stranger.http.Jar.Cookies(at)) // planted
			stranger.http.Jar, _ = cookiejar.New(nil)
			stranger.http.Jar.SetCookies(at, owner.http.Jar.Cookies(at))
			owner.connect()
			before := owner.blobs(1)
			pushes := seen.pushes.Load()
			owner.do("/set?login")
			owner.do("/set?name=login&value=ada")
			first := owner.wait("set of the renewed session", func(h sessionext.Held, _ sessionext.Reply) bool { return before.Version.Less(h.Version) })
			owner.do("/set?name=cart&value=paid")
			newer := owner.wait("the push", func(h sessionext.Held, _ sessionext.Reply) bool { return first.Version.Less(h.Version) })
			time.Sleep(1500 * time.Millisecond) // the manager flushes each second
			w.store.awaitFloor(t, newer.Version)
			if now := seen.pushes.Load(); now != pushes {
				t.Errorf("the stranger was pushed %d sets of the login", now-pushes)
			}
			if last := stranger.keeper.Last(); last.State != sessionext.StateRetry {
				t.Errorf("his handshake was answered %+v", last)
			}
			owner.keeper.Put(first)
			w.move(nil)
			owner.wait("a refusal", state(sessionext.StateRefused))
		})
	}
}

// counter counts the pushes that a client gets.
type counter struct{ pushes atomic.Int32 }

func (c *counter) Incoming(m *bayeux.Message) bool {
	if m.Channel == sessionext.Channel && m.Successful == nil {
		c.pushes.Add(1)
	}
	return true
}

func (*counter) Outgoing(*bayeux.Message) bool { return true }

// A WebSocket has the cookies of the moment it was opened: a login closes it, so that
// libraries that keep theirs through a handshake open another.
func TestLoginClosesTheSocket(t *testing.T) {
	w := newWorld(t)
	v := w.visitor("long-polling")
	at, err := url.Parse(w.server.URL)
	must(t, err)
	conn, err := net.Dial("tcp", at.Host)
	must(t, err)
	defer conn.Close()
	cookie := v.http.Jar.Cookies(at)[0]
	fmt.Fprintf(conn, "GET /bayeux HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nCookie: %s=%s\r\n\r\n", at.Host, cookie.Name, cookie.Value)
	message := `[{"channel":"/meta/handshake","version":"1.0","id":"1","supportedConnectionTypes":["websocket"],"ext":{"sealed":{"v":1}}}]`
	_, err = conn.Write(append([]byte{0x81, 0x80 | 126, byte(len(message) >> 8), byte(len(message)), 0, 0, 0, 0}, message...)) // masked with zeros
	must(t, err)
	must(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	in, answer := bufio.NewReader(conn), ""
	for !strings.Contains(answer, `"gen":"0.1"`) { // it is attached
		b, err := in.ReadByte()
		must(t, err)
		answer += string(b)
	}
	v.do("/set?login")
	_, err = io.Copy(io.Discard, in)
	must(t, err) // it ends, and not by the deadline
}
