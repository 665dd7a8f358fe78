package bayeux_test

import (
	"context"
	"flag"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

var rounds = flag.Int("rounds", 60, "clients of TestClientRounds, for each server")

// Clients that come, speak and go, over connections that are cut at any moment, with a
// good server and with one that does anything: of those that were closed nothing is
// left, neither a goroutine nor a connection.
func TestClientRounds(t *testing.T) {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err != nil { // what Go opens with the first
		t.Fatal(err)
	} else {
		l.Close()
	}
	s := newServer(t, bayeux.Config{Acknowledge: true, Timeout: 20 * time.Millisecond, MaxInterval: 200 * time.Millisecond})
	for name, h := range map[string]func() http.Handler{
		"ours":    func() http.Handler { return s },
		"hostile": func() http.Handler { return &scripted{script: randomScript()} },
	} {
		t.Run(name, func(t *testing.T) {
			goroutines, files := runtime.NumGoroutine(), openFiles()
			var workers sync.WaitGroup
			left := make(chan struct{}, *rounds)
			for range *rounds {
				left <- struct{}{}
			}
			close(left)
			for range 8 {
				workers.Go(func() {
					for range left {
						oneRound(t, h())
					}
				})
			}
			workers.Wait()
			for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if runtime.NumGoroutine() <= goroutines && openFiles() <= files {
					return
				}
			}
			t.Errorf("%d goroutines, %d before; %d files, %d before", runtime.NumGoroutine(), goroutines, openFiles(), files)
		})
	}
}

func randomScript() []byte {
	script := make([]byte, 40)
	for i := range script {
		if script[i] = plain; i > 2 || rand.N(4) == 0 {
			script[i] = byte(rand.N(plays))
		}
		if script[i] == late {
			script[i] = cut
		}
	}
	return script
}

// oneRound is the life of one client. The server outlives it.
func oneRound(t *testing.T, h http.Handler) {
	web := httptest.NewUnstartedServer(h)
	web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	web.Start()
	defer web.Config.Close() // and the way back of what is parked, which httptest does not know of
	defer web.Close()
	defer web.CloseClientConnections()
	var open atomic.Int64
	dial := counting(new(net.Dialer).DialContext, &open)
	tr := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err == nil && rand.N(2) == 0 {
			time.AfterFunc(rand.N(20*time.Millisecond), func() { conn.Close() })
		}
		return conn, err
	}}
	c, err := bayeux.NewClient(web.URL, bayeux.ClientConfig{Transports: [][]string{{bayeux.WebSocket}, {bayeux.LongPolling}, nil}[rand.N(3)], Acknowledge: rand.N(2) == 0,
		Backoff: time.Millisecond, MaxBackoff: 4 * time.Millisecond, RequestTimeout: 100 * time.Millisecond, Logger: slog.New(noPanics{t: t}),
		MaxReply: 8 << 10, MaxPending: 16, HTTPClient: &http.Client{Transport: tr}})
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c.Subscribe(ctx, "/a/*", func(m *bayeux.Message) { c.Publish(ctx, "/b", m.Data) })
	var calls sync.WaitGroup
	calls.Go(func() { c.Connect(ctx) })
	for range 2 {
		calls.Go(func() {
			for i := range 5 {
				time.Sleep(rand.N(3 * time.Millisecond))
				c.Publish(ctx, "/a/b", i)
				c.Subscribe(ctx, "/c", func(*bayeux.Message) {})
				c.Unsubscribe(ctx, "/c")
			}
		})
	}
	time.Sleep(rand.N(40 * time.Millisecond))
	start := time.Now()
	c.Close(ctx)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("Close took %v", d)
	}
	calls.Wait()
	for end := time.Now().Add(30 * time.Second); open.Load() > 0; time.Sleep(time.Millisecond) {
		tr.CloseIdleConnections()
		if time.Now().After(end) {
			t.Errorf("%d connections are open", open.Load())
			return
		}
	}
}

// openFiles counts them where Linux lists them; elsewhere it is 0.
func openFiles() int {
	list, _ := os.ReadDir("/proc/self/fd")
	return len(list)
}
