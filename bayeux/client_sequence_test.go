package bayeux_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lxzan/gws"

	"github.com/sealedblob/sealedblob/bayeux"
)

// scripted is a server that does, for each batch that comes, what the next byte of a
// script says. When they are used up it says nothing more.
type scripted struct {
	gws.BuiltinEventHandler
	mu     sync.Mutex
	script []byte
}

func (s *scripted) next() byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.script) == 0 {
		return silence
	}
	b := s.script[0]
	s.script = s.script[1:]
	return b
}

// What a byte of the script stands for: its lower six bits, modulo plays.
const (
	plain = iota
	retry
	again
	none
	lost
	unknown
	refused
	failure
	redirect
	unanswered
	silence
	delivery
	flood
	poison
	large
	otherID
	twice
	numbered
	cut
	garbage
	late
	longID
	plays
)

var advices = map[int]string{
	retry:   `,"advice":{"reconnect":"retry","interval":0,"timeout":0}`,
	again:   `,"advice":{"reconnect":"handshake","interval":0}`,
	none:    `,"advice":{"reconnect":"none"}`,
	unknown: `,"error":"402::unknown","advice":{"reconnect":"handshake","interval":10}`,
	refused: `,"error":"403::refused"`,
}

// answer returns what is sent, and whether the connection ends then.
func (s *scripted) answer(body []byte) (text string, ends bool) {
	var msgs []struct {
		Channel, ID  string
		Subscription any
	}
	if json.Unmarshal(body, &msgs) != nil {
		return "", true
	}
	play := int(s.next()&0x3f) % plays
	var out []string
	for _, m := range msgs {
		id, good, extra := m.ID, "true", advices[play]
		switch play {
		case lost, unknown, refused:
			good = "false"
		case otherID:
			id = "x"
		case numbered:
			extra += `,"ext":{"ack":7}`
		}
		if m.Channel == bayeux.MetaHandshake {
			client := "c" + m.ID
			if play == longID {
				client = strings.Repeat("c", 300)
			}
			extra += fmt.Sprintf(`,"clientId":%q,"supportedConnectionTypes":["long-polling","websocket"]`, client)
			if play != numbered {
				extra += `,"ext":{"ack":true}`
			}
		}
		out = append(out, fmt.Sprintf(`{"channel":%q,"id":%q,"successful":%s%s}`, m.Channel, id, good, extra))
	}
	const wanted = `{"channel":"/a/b","data":1}`
	switch play {
	case unanswered:
		return "[]", false
	case silence:
		return "", false
	case delivery:
		out = append([]string{wanted}, out...)
	case flood:
		out = append([]string{wanted + strings.Repeat(","+wanted, 20)}, out...)
	case poison:
		out = append([]string{`{"channel":"/a/b","data":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, wanted}, out...)
	case large:
		out = append([]string{`{"channel":"/a/b","data":"` + strings.Repeat("x", 10<<10) + `"}`}, out...)
	case twice:
		out = append(out, out...)
	case cut:
		return "[" + strings.Join(out, ","), true
	case garbage:
		return "]" + strings.Join(out, ","), false
	case late:
		time.Sleep(12 * time.Second)
	default:
		time.Sleep(time.Millisecond)
	}
	return "[" + strings.Join(out, ",") + "]", false
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		if int(s.next()&0x3f)%plays == refused {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if conn, err := gws.NewUpgrader(s, &gws.ServerOption{Logger: discard{}}).Upgrade(w, r); err == nil {
			go conn.ReadLoop()
		}
		return
	}
	body, _ := io.ReadAll(r.Body)
	switch s.mu.Lock(); {
	case len(s.script) > 0 && int(s.script[0]&0x3f)%plays == failure:
		w.WriteHeader(http.StatusBadGateway)
	case len(s.script) > 0 && int(s.script[0]&0x3f)%plays == redirect:
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	default:
		s.mu.Unlock()
		text, ends := s.answer(body)
		if text == "" {
			<-r.Context().Done()
		}
		io.WriteString(w, text)
		if ends {
			panic(http.ErrAbortHandler)
		}
		return
	}
	s.script = s.script[1:]
	s.mu.Unlock()
}

func (s *scripted) OnMessage(conn *gws.Conn, m *gws.Message) {
	text, ends := s.answer(m.Bytes())
	if text != "" {
		conn.WriteString(text)
	}
	if ends {
		conn.NetConn().Close()
	}
}

// FuzzClientSequence: whatever a server does in the course of time, and whenever Close
// is called, Close ends soon, with all calls and connections, and no handler is called
// after it.
func FuzzClientSequence(f *testing.F) {
	for _, s := range [][]byte{
		{}, {0, 9, plain}, {1, 5, plain, plain, again, plain, plain, plain}, {1, 30, plain, plain, delivery, retry, retry, retry, again, plain, none},
		{0, 40, plain, plain, plain, plain, unknown, plain, plain, delivery, cut, plain, plain, poison, large, plain},
		{5, 40, plain, numbered, numbered, large, plain, plain, flood, plain}, {4, 60, plain, plain, plain, plain, large, plain, plain, plain, flood, flood, flood},
		{2, 50, refused, plain, plain, otherID, twice, failure, redirect, unanswered, late, garbage, plain}, {1, 20, longID}, {1, 63, plain, lost, plain, plain, refused, silence},
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 2 || len(in) > 200 {
			return
		}
		synctest.Test(t, func(t *testing.T) { runSequence(t, in[0], in[1], in[2:]) })
	})
}

// runSequence closes a client at a moment that ranges from at once to an hour.
func runSequence(t *testing.T, choice, moment byte, script []byte) {
	lists := [][]string{{bayeux.WebSocket}, {bayeux.LongPolling}, nil, {bayeux.LongPolling, bayeux.WebSocket}}
	n := newMemNet()
	srv := &http.Server{Handler: &scripted{script: script}, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go srv.Serve(n)
	var open atomic.Int64
	tr := &http.Transport{DialContext: counting(n.Dial, &open)}
	c, err := bayeux.NewClient("http://bayeux.test/", bayeux.ClientConfig{Transports: lists[choice&3], Acknowledge: choice&4 != 0, MaxReply: 8 << 10,
		MaxPending: 16, HTTPClient: &http.Client{Transport: tr}, Logger: slog.New(noPanics{t: t})})
	if err != nil {
		t.Fatal(err)
	}
	var closed atomic.Bool
	c.Subscribe(t.Context(), "/a/**", func(*bayeux.Message) {
		if closed.Load() {
			t.Error("a handler is called after Close")
		}
		time.Sleep(time.Millisecond)
	})
	var calls sync.WaitGroup
	calls.Go(func() { c.Connect(t.Context()) })
	for i := range 3 {
		calls.Go(func() {
			for range 3 {
				time.Sleep(time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*8*time.Second+time.Millisecond)
				c.Publish(ctx, "/a/b", 1)
				c.Subscribe(ctx, "/b", func(*bayeux.Message) {})
				c.Unsubscribe(ctx, "/b")
				cancel()
			}
		})
	}
	time.Sleep(time.Hour >> (min(63-moment&63, 42)))
	start := time.Now()
	c.Close(t.Context())
	closed.Store(true)
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("Close took %v", d)
	}
	calls.Wait()
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("calls went on for %v", d)
	}
	time.Sleep(time.Minute) // the server's last late answers
	tr.CloseIdleConnections()
	synctest.Wait()
	if n := open.Load(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
	srv.Close()
	n.Close()
}

// counting makes dial count the connections that are open.
func counting(dial func(context.Context, string, string) (net.Conn, error), open *atomic.Int64) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		open.Add(1)
		return &countedConn{Conn: conn, open: open}, nil
	}
}

type countedConn struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
