package bayeux_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// raw is a server that is not bound to any protocol: f gets a connection and the
// request that came on it.
func raw(t *testing.T, f func(c net.Conn, r *http.Request, body []byte)) *memNet {
	n := newMemNet()
	var conns sync.WaitGroup
	go func() {
		for {
			c, err := n.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				// A test that hangs is worse than one that fails.
				c.SetDeadline(time.Now().Add(20 * time.Second))
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				body, _ := io.ReadAll(r.Body)
				f(c, r, body)
			})
		}
	}()
	t.Cleanup(func() { n.Close(); conns.Wait() })
	return n
}

const okHead = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

// pour writes chunk until the peer is gone, and says how much it took.
func pour(c net.Conn, chunk string) (total int64) {
	for {
		n, err := io.WriteString(c, chunk)
		if total += int64(n); err != nil {
			return total
		}
	}
}

// Bytes that are no Bayeux, and no end of them: the client takes a bounded
// number, gives up in time, and says so.
func TestClientBoundsWhatAServerSends(t *testing.T) {
	const maxReply = 64 << 10
	bomb := func() string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(bytes.Repeat([]byte(" "), 4<<20))
		z.Close()
		return b.String()
	}()
	tests := map[string]func(c net.Conn) int64{
		"endless body": func(c net.Conn) int64 { io.WriteString(c, okHead+"\r\n["); return pour(c, strings.Repeat(" ", 4096)) },
		"endless chunks": func(c net.Conn) int64 {
			io.WriteString(c, okHead+"Transfer-Encoding: chunked\r\n\r\n")
			return pour(c, "1\r\n \r\n")
		},
		"a huge length": func(c net.Conn) int64 {
			io.WriteString(c, okHead+"Content-Length: 9000000000000000000\r\n\r\n")
			return pour(c, strings.Repeat("[", 4096))
		},
		"a negative length": func(c net.Conn) int64 { io.WriteString(c, okHead+"Content-Length: -1\r\n\r\n[]"); return 0 },
		"inflation": func(c net.Conn) int64 {
			fmt.Fprintf(c, okHead+"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(bomb), bomb)
			return 0
		},
		"endless header": func(c net.Conn) int64 {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nA: ")
			return pour(c, strings.Repeat("x", 4096))
		},
		"endless headers": func(c net.Conn) int64 { io.WriteString(c, "HTTP/1.1 200 OK\r\n"); return pour(c, "A: b\r\n") },
		"endless 1xx":     func(c net.Conn) int64 { return pour(c, "HTTP/1.1 103 Early Hints\r\n\r\n") },
		"endless trailers": func(c net.Conn) int64 {
			io.WriteString(c, okHead+"Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n0\r\n")
			return pour(c, "A: b\r\n")
		},
		"slow header": func(c net.Conn) int64 { return drip(c, "HTTP/1.1 200 OK\r\nA: "+strings.Repeat("x", 1000)) },
		"slow body":   func(c net.Conn) int64 { io.WriteString(c, okHead+"\r\n["); return drip(c, strings.Repeat(" ", 1000)) },
		"nothing":     func(c net.Conn) int64 { io.Copy(io.Discard, c); return 0 },
		"not HTTP":    func(c net.Conn) int64 { io.WriteString(c, "SSH-2.0-x\r\n\r\n"); return 0 },
		"100 continue alone": func(c net.Conn) int64 {
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			io.Copy(io.Discard, c)
			return 0
		},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			took := make(chan int64, 100)
			n := raw(t, func(c net.Conn, r *http.Request, _ []byte) {
				requests.Add(1)
				took <- f(c)
			})
			tr := n.transport()
			tr.MaxResponseHeaderBytes = maxReply
			t.Cleanup(tr.CloseIdleConnections)
			c := newClient(t, n, bayeux.ClientConfig{Transports: transports["long-polling"], MaxReply: maxReply,
				RequestTimeout: 500 * time.Millisecond, HTTPClient: &http.Client{Transport: tr}})
			start := time.Now()
			if err := c.Connect(t.Context()); err == nil || len(err.Error()) > 300 {
				t.Errorf("Connect = %v", err)
			}
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("Connect took %v", d)
			}
			n.Close()
			if requests.Load() == 0 {
				t.Error("nothing was asked")
			}
			for range requests.Load() {
				if n := <-took; n > 8*maxReply { // chunks of one byte take six on the wire
					t.Errorf("took %d bytes", n)
				}
			}
		})
	}
}

// drip writes s a byte at a time.
func drip(c net.Conn, s string) int64 {
	for i := range len(s) {
		if _, err := c.Write([]byte{s[i]}); err != nil {
			return int64(i)
		}
		time.Sleep(5 * time.Millisecond)
	}
	io.Copy(io.Discard, c)
	return int64(len(s))
}

// A server that points elsewhere must not get the messages sent there.
func TestClientFollowsNoRedirect(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var asked []string
			var mu sync.Mutex
			n := serveMem(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				asked = append(asked, r.Host+r.URL.Path)
				mu.Unlock()
				http.Redirect(w, r, "http://elsewhere.test/bayeux", status)
			}))
			c := newClient(t, n, bayeux.ClientConfig{})
			if err := c.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprint(status)) {
				t.Errorf("Connect = %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, a := range asked {
				if a != "bayeux.test/bayeux" {
					t.Errorf("asked %s", a)
				}
			}
			if len(asked) != 2 { // an upgrade and a handshake
				t.Errorf("asked %q", asked)
			}
		})
	}
}

// serverFrame is one WebSocket frame of a server (RFC 6455, section 5.2).
func serverFrame(first byte, payload string) string {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return string(b) + payload
}

// upgraded answers an upgrade as a server should.
func upgraded(c net.Conn, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
}

// A WebSocket that carries anything but Bayeux.
func TestClientBoundsFrames(t *testing.T) {
	const maxReply = 64 << 10
	const text, more, fin = 1, 0, 0x80
	tests := map[string]func(c net.Conn) int64{
		"upgrade: endless header": func(c net.Conn) int64 {
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nA: ")
			return pour(c, strings.Repeat("x", 4096))
		},
		"upgrade: endless headers": func(c net.Conn) int64 {
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n")
			return pour(c, "A: b\r\n")
		},
		"upgrade: endless 1xx": func(c net.Conn) int64 { return pour(c, "HTTP/1.1 103 Early Hints\r\n\r\n") },
		"upgrade: slow": func(c net.Conn) int64 {
			return drip(c, "HTTP/1.1 101 Switching Protocols\r\nA: "+strings.Repeat("x", 1000))
		},
		"a huge frame": func(c net.Conn) int64 {
			io.WriteString(c, "\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff")
			return pour(c, strings.Repeat(" ", 4096))
		},
		"a negative length": func(c net.Conn) int64 {
			io.WriteString(c, "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff")
			return pour(c, strings.Repeat(" ", 4096))
		},
		"a large frame": func(c net.Conn) int64 {
			io.WriteString(c, "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x01")
			return pour(c, strings.Repeat(" ", 4096))
		},
		"endless fragments": func(c net.Conn) int64 {
			io.WriteString(c, serverFrame(text, "["))
			return pour(c, serverFrame(more, strings.Repeat(" ", 1000)))
		},
		"fragments of nothing": func(c net.Conn) int64 {
			io.WriteString(c, serverFrame(text, "["))
			pour(c, serverFrame(more, ""))
			return 0
		},
		"endless pings":          func(c net.Conn) int64 { go io.Copy(io.Discard, c); pour(c, serverFrame(fin|9, "x")); return 0 },
		"pings, pongs not read":  func(c net.Conn) int64 { return pour(c, serverFrame(fin|9, strings.Repeat("x", 125))) },
		"a large ping":           func(c net.Conn) int64 { io.WriteString(c, serverFrame(fin|9, strings.Repeat("x", 126))); return 0 },
		"an unknown opcode":      func(c net.Conn) int64 { io.WriteString(c, serverFrame(fin|3, "[]")); return 0 },
		"reserved bits":          func(c net.Conn) int64 { io.WriteString(c, serverFrame(fin|0x70|text, "[]")); return 0 },
		"a masked frame":         func(c net.Conn) int64 { io.WriteString(c, "\x81\x82\x00\x00\x00\x00[]"); return 0 },
		"a continuation of none": func(c net.Conn) int64 { io.WriteString(c, serverFrame(fin|more, "[]")); return 0 },
		"bad UTF-8":              func(c net.Conn) int64 { io.WriteString(c, serverFrame(fin|text, "[\"\xff\"]")); return 0 },
		"bytes":                  func(c net.Conn) int64 { io.WriteString(c, serverFrame(fin|2, "[]")); return 0 },
		"a close":                func(c net.Conn) int64 { io.WriteString(c, serverFrame(fin|8, "\x03\xe8bye")); return 0 },
		"a close of one byte":    func(c net.Conn) int64 { io.WriteString(c, serverFrame(fin|8, "\x03")); return 0 },
		"endless messages":       func(c net.Conn) int64 { pour(c, serverFrame(fin|text, `[{"channel":"/a","data":1}]`)); return 0 },
		"endless replies": func(c net.Conn) int64 {
			pour(c, serverFrame(fin|text, `[{"channel":"/meta/connect","successful":true}]`))
			return 0
		},
		"half a frame":              func(c net.Conn) int64 { io.WriteString(c, "\x81\x05["); io.Copy(io.Discard, c); return 0 },
		"slow frames":               func(c net.Conn) int64 { return drip(c, strings.Repeat(serverFrame(fin|text, "[]"), 300)) },
		"nothing":                   func(c net.Conn) int64 { io.Copy(io.Discard, c); return 0 },
		"a server that never reads": func(c net.Conn) int64 { time.Sleep(2 * time.Second); return 0 },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var upgrades atomic.Int64
			took := make(chan int64, 100)
			n := raw(t, func(c net.Conn, r *http.Request, _ []byte) {
				upgrades.Add(1)
				if !strings.HasPrefix(name, "upgrade: ") {
					upgraded(c, r)
				}
				took <- f(c)
			})
			tr := n.transport()
			t.Cleanup(tr.CloseIdleConnections)
			c := newClient(t, n, bayeux.ClientConfig{Transports: transports["websocket"], MaxReply: maxReply, MaxPending: 100,
				RequestTimeout: 500 * time.Millisecond, HTTPClient: &http.Client{Transport: tr}})
			c.Subscribe(t.Context(), "/a", func(*bayeux.Message) { time.Sleep(time.Millisecond) })
			start := time.Now()
			if err := c.Connect(t.Context()); err == nil || len(err.Error()) > 300 {
				t.Errorf("Connect = %v", err)
			}
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("Connect took %v", d)
			}
			n.Close()
			if upgrades.Load() == 0 {
				t.Error("no WebSocket was tried")
			}
			limit := int64(4 * maxReply)
			if name == "a large frame" {
				limit = maxReply / 4 // its header is enough
			}
			for range upgrades.Load() {
				if n := <-took; n > limit {
					t.Errorf("took %d bytes", n)
				}
			}
		})
	}
}

// A frame may announce a gigabyte: what does not come costs nothing.
func TestClientSetsNothingAsideForAFrame(t *testing.T) {
	var before, after runtime.MemStats
	n := raw(t, func(c net.Conn, r *http.Request, _ []byte) {
		upgraded(c, r)
		runtime.ReadMemStats(&before)
		io.WriteString(c, "\x81\x7f\x00\x00\x00\x00\x40\x00\x00\x00[")
		io.Copy(io.Discard, c)
	})
	c := newClient(t, n, bayeux.ClientConfig{Transports: transports["websocket"], MaxReply: 1 << 30, RequestTimeout: 500 * time.Millisecond})
	if err := c.Connect(t.Context()); err == nil {
		t.Error("connected")
	}
	n.Close()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; before.TotalAlloc == 0 || got > 1<<20 {
		t.Errorf("%d bytes set aside", got)
	}
}

// Only an answer to the very upgrade makes a WebSocket.
func TestClientChecksTheUpgrade(t *testing.T) {
	good := func(r *http.Request) http.Header {
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		return http.Header{"Upgrade": {"WebSocket"}, "Connection": {"keep-alive, upgrade"}, "Sec-WebSocket-Accept": {base64.StdEncoding.EncodeToString(sum[:])}}
	}
	for name, spoil := range map[string]func(h http.Header) (status int){
		"nothing":       func(h http.Header) int { return 101 },
		"status":        func(h http.Header) int { return 200 },
		"no upgrade":    func(h http.Header) int { h.Del("Upgrade"); return 101 },
		"no connection": func(h http.Header) int { h.Set("Connection", "close"); return 101 },
		"another key": func(h http.Header) int {
			h["Sec-WebSocket-Accept"] = []string{"AAAAAAAAAAAAAAAAAAAAAAAAAAA="}
			return 101
		},
		"an extension":  func(h http.Header) int { h.Set("Sec-WebSocket-Extensions", "permessage-deflate"); return 101 },
		"a subprotocol": func(h http.Header) int { h.Set("Sec-WebSocket-Protocol", "bayeux"); return 101 },
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan *http.Request, 1)
			n := raw(t, func(c net.Conn, r *http.Request, _ []byte) {
				asked <- r
				h := good(r)
				status := spoil(h)
				fmt.Fprintf(c, "HTTP/1.1 %d x\r\n", status)
				h.Write(c)
				io.WriteString(c, "\r\n")
				io.Copy(io.Discard, c)
			})
			c, err := bayeux.NewClient("http://me:secret@bayeux.test/bayeux", bayeux.ClientConfig{Transports: transports["websocket"], Logger: silent,
				RequestTimeout: time.Second, HTTPClient: &http.Client{Transport: n.transport()}})
			if err != nil {
				t.Fatal(err)
			}
			err = c.Connect(t.Context())
			if upgraded := err != nil && strings.Contains(err.Error(), "deadline exceeded"); upgraded != (name == "nothing") {
				t.Errorf("Connect = %v", err)
			}
			if user, password, _ := (<-asked).BasicAuth(); user != "me" || password != "secret" {
				t.Errorf("asked as %q %q", user, password)
			}
		})
	}
}

// A server that falls silent is given up: after the time it said it holds a
// connect, and RequestTimeout.
func TestClientGivesUpOnSilence(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		silence := make(chan struct{})
		p := &puppet{reply: func(channel, id string, n int) string {
			switch {
			case channel == bayeux.MetaHandshake:
				return hello(id) // a timeout of 30 s
			case n > 2:
				<-silence
			}
			return `[` + ok(channel, id, "") + `]`
		}}
		c := connected(t, serveMem(t, p), bayeux.ClientConfig{Transports: transports, RequestTimeout: 5 * time.Second})
		time.Sleep(34 * time.Second)
		if c.State() != bayeux.StateConnected {
			t.Errorf("state %v", c.State())
		}
		time.Sleep(2 * time.Second)
		if c.State() == bayeux.StateConnected {
			t.Error("still connected")
		}
		close(silence)
		c.Close(t.Context())
	})
}

// Cookies are few and small, however many a server sets.
func TestClientKeepsFewCookies(t *testing.T) {
	var sets, largest atomic.Int64
	s := newServer(t, bayeux.Config{Timeout: time.Millisecond})
	n := serveMem(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		largest.Store(max(largest.Load(), int64(len(r.Header.Get("Cookie")))))
		for range 40 {
			i := sets.Add(1)
			for _, more := range []http.Cookie{{}, {Path: fmt.Sprintf("/%d", i)}, {Secure: true}, {MaxAge: 1000}} {
				more.Name, more.Value = fmt.Sprintf("c%d", i), strings.Repeat("v", 20)
				http.SetCookie(w, &more)
			}
		}
		http.SetCookie(w, &http.Cookie{Name: "large", Value: strings.Repeat("v", 5000)})
		http.SetCookie(w, &http.Cookie{Name: "c1", Value: "changed"})
		s.ServeHTTP(w, r)
	}))
	c := connected(t, n, bayeux.ClientConfig{Transports: transports["long-polling"]})
	for i := range 20 {
		if err := c.Publish(t.Context(), "/a", i); err != nil {
			t.Fatal(err)
		}
	}
	if n := largest.Load(); n == 0 || n > 60*40 {
		t.Errorf("%d bytes of cookies", n)
	}
}

// A server can make the client wait, but not for ever and not busily: how many
// connects follow the first in 25 minutes, all answered at once.
func TestClientBoundsAdvice(t *testing.T) {
	const none, backedOff = 0, 50 // waits of 15 to 30 s, and some quick ones before
	for advice, least := range map[string]int64{
		`{"interval":-1,"timeout":-1}`:                                     backedOff,
		`{"interval":-9223372036854775808,"timeout":-9223372036854775808}`: backedOff,
		`{"interval":9223372036854775807,"timeout":9223372036854775807}`:   2,
		`{"interval":1000000000}`:                                          2,
		`{"interval":60000}`:                                               24,
		`{"reconnect":"RETRY"}`:                                            backedOff,
		`{"hosts":[1]}`:                                                    backedOff,
		`{"reconnect":"none"}`:                                             none,
		`{"interval":1e300}`:                                               none, // these are no Bayeux, and Connect fails
		`{"interval":1.5}`:                                                 none,
		`{"interval":"1"}`:                                                 none,
		`{"reconnect":7}`:                                                  none,
		`[]`:                                                               none,
		`"none"`:                                                           none,
	} {
		for name, list := range transports {
			t.Run(name+" "+advice, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var connects atomic.Int64
					p := &puppet{reply: func(channel, id string, n int) string {
						if channel == bayeux.MetaHandshake {
							return hello(id)
						}
						connects.Add(1)
						return `[` + ok(channel, id, `,"advice":`+advice) + `]`
					}}
					c := newClient(t, serveMem(t, p), bayeux.ClientConfig{Transports: list})
					err := c.Connect(t.Context())
					if (err == nil) != (least != none) {
						t.Errorf("Connect = %v", err)
					}
					before := connects.Load()
					time.Sleep(25*time.Minute + time.Second)
					if n := connects.Load() - before; n < least || n > 3*least {
						t.Errorf("%d connects, want %d or some more", n, least)
					}
					start := time.Now()
					c.Close(t.Context())
					if d := time.Since(start); d > time.Second {
						t.Errorf("Close took %v", d)
					}
				})
			})
		}
	}
}
