package bayeux_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// Many clients, several publishers, both transports, sessions that come and go:
// whoever stays gets every message of each publisher once, in order.
func TestManyClients(t *testing.T) {
	const clients, publishers, messages = 12, 3, 200
	s := newServer(t, bayeux.Config{})
	s.AddExtension(tap{}) // the path with extensions; TestClient has the one without
	srv := httptest.NewServer(s)
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	var wg sync.WaitGroup
	ready := make(chan struct{}, clients)
	for i := range clients {
		list := []string{bayeux.WebSocket}
		if i%2 == 0 {
			list = []string{bayeux.LongPolling}
		}
		wg.Go(func() {
			if err := listen(ctx, srv.URL, list, publishers, messages, ready); err != nil {
				t.Errorf("%s client: %v", list[0], err)
			}
		})
	}
	stop := make(chan struct{})
	var churn sync.WaitGroup
	for range 2 {
		churn.Go(func() { comeAndGo(ctx, srv.URL, stop) })
	}
	for range clients {
		select {
		case <-ready:
		case <-ctx.Done():
			t.Fatal("clients are not ready")
		}
	}
	var pubs sync.WaitGroup
	for p := range publishers {
		pubs.Go(func() {
			for n := range messages {
				if err := s.Publish("/from/"+strconv.Itoa(p), n); err != nil {
					t.Error(err)
				}
				if n%20 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	pubs.Wait()
	wg.Wait()
	close(stop)
	churn.Wait()
}

// listen returns when every message of every publisher came, in order.
func listen(ctx context.Context, url string, transports []string, publishers, messages int, ready chan<- struct{}) error {
	c, err := bayeux.NewClient(url, bayeux.ClientConfig{Transports: transports, Logger: silent, HTTPClient: &http.Client{Transport: new(http.Transport)}})
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	if err := c.Connect(ctx); err != nil {
		return err
	}
	next := make(map[string]int)
	total := 0
	done := make(chan error, 1)
	for _, pattern := range []string{"/from/*", "/from/**"} {
		first := pattern == "/from/*"
		err := c.Subscribe(ctx, pattern, func(m *bayeux.Message) {
			if !first {
				return // the one copy goes to both handlers
			}
			if got := string(m.Data); got != strconv.Itoa(next[m.Channel]) {
				done <- fmt.Errorf("%s: got %s, want %d", m.Channel, got, next[m.Channel])
			}
			next[m.Channel]++
			if total++; total == publishers*messages {
				done <- nil
			}
		})
		if err != nil {
			return err
		}
	}
	ready <- struct{}{}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%d of %d messages: %w", total, publishers*messages, ctx.Err())
	}
}

func comeAndGo(ctx context.Context, url string, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		list := [][]string{{bayeux.WebSocket}, {bayeux.LongPolling}}[i%2]
		tr := new(http.Transport)
		c, err := bayeux.NewClient(url, bayeux.ClientConfig{Transports: list, Logger: silent, HTTPClient: &http.Client{Transport: tr}})
		if err != nil {
			return
		}
		if c.Connect(ctx) == nil {
			c.Subscribe(ctx, "/from/**", func(*bayeux.Message) {})
			c.Publish(ctx, "/elsewhere", i)
		}
		c.Close(ctx)
		tr.CloseIdleConnections()
	}
}
