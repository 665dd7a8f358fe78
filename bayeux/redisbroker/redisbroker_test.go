package redisbroker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/redisbroker"
	"github.com/sealedblob/sealedblob/internal/services"
)

var silent = slog.New(slog.DiscardHandler)

// node is a server with a client that is subscribed to everything.
type node struct {
	t      *testing.T
	server *bayeux.Server
	got    chan *bayeux.Message
}

func newNode(t *testing.T, option rueidis.ClientOption) *node {
	t.Helper()
	b, err := redisbroker.New(option, "bayeux")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s, err := bayeux.NewServer(bayeux.Config{Broker: b, Logger: silent, WriteTimeout: 3 * time.Second, MaxQueue: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(func() {
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		cancel()
	})
	c, err := bayeux.NewClient(web.URL, bayeux.ClientConfig{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, server: s, got: make(chan *bayeux.Message, 20_000)}
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(ctx) })
	if err := c.Subscribe(ctx, "/**", func(m *bayeux.Message) { n.got <- m }); err != nil {
		t.Fatal(err)
	}
	return n
}

// next is the next message that is no probe.
func (n *node) next() *bayeux.Message {
	n.t.Helper()
	for {
		select {
		case m := <-n.got:
			if m.Channel != "/probe" {
				return m
			}
		case <-time.After(20 * time.Second):
			n.t.Fatal("no message")
		}
	}
}

// reaches waits until what n publishes arrives at other.
func (n *node) reaches(other *node) {
	n.t.Helper()
	for start := time.Now(); time.Since(start) < 30*time.Second; {
		if err := n.server.Publish("/probe", 1); err != nil {
			n.t.Fatal(err)
		}
		select {
		case <-other.got:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	n.t.Fatal("nodes do not reach each other")
}

func option(addr string) rueidis.ClientOption {
	return rueidis.ClientOption{InitAddress: []string{addr}}
}

func TestEveryNodeGetsEachMessageOnce(t *testing.T) {
	redis := services.Redis(t)
	eachOnce(t, newNode(t, option(redis.Addr)), newNode(t, option(redis.Addr)), newNode(t, option(redis.Addr)))
}

// In a Cluster each node may know another of its servers. When one that does not have the channel's slot
// ends, nodes that listened there find another.
func TestCluster(t *testing.T) {
	t.Parallel()
	masters := services.RedisCluster(t, 3)
	for _, m := range masters {
		command := append([]string{"ACL", "SETUSER", "bayeux", "on", ">secret", "+cluster|shards", "+cluster|slots"}, strings.Fields(account)...)
		m.Redis(command...)
	}
	list := make([]*node, len(masters))
	for i, m := range masters {
		o := option(m.Addr)
		o.Username, o.Password = "bayeux", "secret"
		list[i] = newNode(t, o)
	}
	eachOnce(t, list[0], list[1], list[2])
	masters[0].Kill() // the slot of "bayeux" is with the last
	for i := range list {
		list[i].reaches(list[(i+1)%3])
	}
}

// eachOnce publishes at a and b, and expects that once, in order, at all three.
func eachOnce(t *testing.T, a, b, c *node) {
	t.Helper()
	for _, from := range []*node{a, b} {
		for _, to := range []*node{a, b, c} {
			from.reaches(to)
		}
	}
	const n = 500
	for i := range n {
		if err := a.server.Publish(fmt.Sprintf("/from/a/%d", i), "\u00fc\x00"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.server.Publish("/from/b", 1); err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]*node{"a": a, "b": b, "c": c} {
		next := 0
		for range n + 1 {
			m := at.next()
			if m.Channel == "/from/b" {
				continue
			}
			if want := fmt.Sprintf("/from/a/%d", next); m.Channel != want || string(m.Data) != `"ü\u0000"` {
				t.Fatalf("%s: got %s %s, want %s", name, m.Channel, m.Data, want)
			}
			next++
		}
		if next != n {
			t.Errorf("%s: %d of a's messages, want %d", name, next, n)
		}
	}
	time.Sleep(100 * time.Millisecond)
	for name, at := range map[string]*node{"a": a, "b": b, "c": c} {
		for len(at.got) > 0 {
			if m := <-at.got; m.Channel != "/probe" {
				t.Errorf("%s: %s came again", name, m.Channel)
			}
		}
	}
}

func TestRedisOutage(t *testing.T) {
	redis := services.Redis(t)
	redis.Kill()
	a, b := newNode(t, option(redis.Addr)), newNode(t, option(redis.Addr)) // they start without it
	local := func() {
		t.Helper()
		start := time.Now()
		for i := range 3000 {
			if err := a.server.Publish("/local", i); err != nil {
				t.Fatal(err)
			}
		}
		published := time.Since(start)
		for range 3000 {
			a.next()
		}
		if published > 10*time.Second || time.Since(start) > 30*time.Second {
			t.Errorf("published in %v, delivered after %v", published, time.Since(start))
		}
	}
	local()
	redis.Start()
	a.reaches(b)
	redis.Kill()
	local()
	redis.Start()
	a.reaches(b)
	b.reaches(a)
}

// account is that of the package comment.
const account = "resetkeys resetchannels &bayeux +publish +subscribe +unsubscribe +ping"

// The account of the package comment is enough, and one without the channel is not.
func TestAccount(t *testing.T) {
	redis := services.Redis(t)
	redis.Redis(append([]string{"ACL", "SETUSER", "bayeux", "on", ">secret"}, strings.Fields(account)...)...)
	redis.Redis(append([]string{"ACL", "SETUSER", "other", "on", ">secret"}, strings.Fields(strings.Replace(account, "&bayeux", "&else", 1))...)...)
	as := func(user string) rueidis.ClientOption {
		o := option(redis.Addr)
		o.Username, o.Password = user, "secret"
		return o
	}
	newNode(t, as("bayeux")).reaches(newNode(t, as("bayeux")))

	b, err := redisbroker.New(as("other"), "bayeux")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := b.Publish(ctx, [][]byte{[]byte("x")}); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("Publish without the right = %v", err)
	}
	if err := b.Receive(ctx, func([]byte) {}); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("Receive without the right = %v", err)
	}
}

func TestMisuse(t *testing.T) {
	if b, err := redisbroker.New(rueidis.ClientOption{}, "x"); err == nil || b != nil {
		t.Error("New without an address")
	}
	if b, err := redisbroker.New(option("127.0.0.1:1"), ""); err == nil || b != nil {
		t.Error("New without a channel")
	}
	b, err := redisbroker.New(option("127.0.0.1:1"), "x")
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	if b.Publish(t.Context(), [][]byte{[]byte("x")}) == nil || b.Receive(t.Context(), func([]byte) {}) == nil {
		t.Error("a closed broker works")
	}
}

// A Redis that accepts connections and says nothing holds nobody up.
func TestSilentRedis(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b, err := redisbroker.New(option(ln.Addr().String()), "x")
	if err != nil {
		t.Fatal(err)
	}
	quick := func(what string, f func() error, want error) {
		t.Helper()
		start := time.Now()
		if err := f(); !errors.Is(err, want) || time.Since(start) > 3*time.Second {
			t.Errorf("%s = %v after %v", what, err, time.Since(start))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	quick("Publish", func() error { return b.Publish(ctx, [][]byte{[]byte("x")}) }, context.DeadlineExceeded)
	quick("Receive", func() error { return b.Receive(ctx, func([]byte) {}) }, context.DeadlineExceeded)
	quick("Close", func() error { b.Close(); return nil }, nil)
	if b.Publish(t.Context(), [][]byte{[]byte("x")}) == nil {
		t.Error("a closed broker works")
	}
}
