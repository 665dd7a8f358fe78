package bayeux_test

import (
	"errors"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sealedblob/sealedblob/bayeux"
)

func TestQueuePolicies(t *testing.T) {
	small, big := strings.Repeat("x", 74), strings.Repeat("x", 400) // 100 and 426 bytes as a delivery on /q
	tests := []struct {
		name   string
		policy bayeux.QueuePolicy
		limit  bayeux.Config
		data   []string
		err    int // the first of data that does not fit; -1: none
		want   []int
		gone   bool
	}{
		{"disconnect", bayeux.QueueDisconnect, bayeux.Config{MaxQueue: 2}, []string{small, small, small}, 2, nil, true},
		{"oldest of many", bayeux.QueueDropOldest, bayeux.Config{MaxQueue: 2}, []string{small, small, small}, -1, []int{1, 2}, false},
		{"oldest of big", bayeux.QueueDropOldest, bayeux.Config{MaxQueueBytes: 500}, []string{small, small, big}, -1, []int{2}, false},
		{"refuse of many", bayeux.QueueRefuse, bayeux.Config{MaxQueue: 2}, []string{small, small, small}, 2, []int{0, 1}, false},
		{"refuse of big", bayeux.QueueRefuse, bayeux.Config{MaxQueueBytes: 500}, []string{small, big, small}, 1, []int{0}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := tt.limit
			cfg.QueueFull = tt.policy
			r := newRig(t, cfg)
			p := r.peer().ready()
			sess := r.server.Session(p.id)
			failed := -1
			for i, d := range tt.data {
				err := sess.DeliverMessage(&bayeux.Message{Channel: "/q", Data: jsontext.Value(`"` + d + `"`), Lazy: true})
				if err != nil {
					if !errors.Is(err, bayeux.ErrQueueFull) {
						t.Fatal(err)
					}
					failed = i
					break
				}
			}
			if failed != tt.err {
				t.Errorf("delivery %d failed, want %d", failed, tt.err)
			}
			if gone := r.server.Session(p.id) == nil; gone != tt.gone {
				t.Fatalf("session gone: %v, want %v", gone, tt.gone)
			}
			if tt.gone {
				return
			}
			var got []int
			for _, m := range find(p.send(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0}}]`), "/q") {
				got = append(got, len(m.Data)-2)
			}
			var want []int
			for _, i := range tt.want {
				want = append(want, len(tt.data[i]))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got sizes %d, want %d", got, want)
			}
		})
	}
	if _, err := bayeux.NewServer(bayeux.Config{QueueFull: 3}); err == nil {
		t.Error("NewServer took an unknown queue policy")
	}
}

func lazy(ch string) *bayeux.Message {
	return &bayeux.Message{Channel: ch, Data: jsontext.Value("1"), Lazy: true}
}

func TestLazyMessages(t *testing.T) {
	cfg := bayeux.Config{MaxLazyTimeout: 3 * time.Second, Timeout: 10 * time.Second, LazyChannels: []string{"/slow", "/slower/**"}}
	tests := []struct {
		name string
		act  func(r *rig)
		want time.Duration
		n    int
	}{
		{"one", func(r *rig) { r.server.PublishMessage(lazy("/a")) }, 3 * time.Second, 1},
		{"several wait for the first's time", func(r *rig) {
			r.server.PublishMessage(lazy("/a"))
			time.Sleep(2 * time.Second)
			r.server.PublishMessage(lazy("/a"))
		}, 3 * time.Second, 2},
		{"another message takes them along", func(r *rig) {
			r.server.PublishMessage(lazy("/a"))
			time.Sleep(time.Second)
			r.server.Publish("/a", 2)
		}, time.Second, 2},
		{"channel", func(r *rig) { r.server.Publish("/slow", 1) }, 3 * time.Second, 1},
		{"below a plain channel", func(r *rig) { r.server.Publish("/slow/a", 1) }, 0, 1},
		{"below a wildcard", func(r *rig) { r.server.Publish("/slower/a/b", 1) }, 3 * time.Second, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, cfg)
				p := r.peer().ready()
				p.subscribe("/**")
				start := time.Now()
				held := p.held()
				synctest.Wait()
				tt.act(r)
				msgs := <-held
				if got := time.Since(start); got != tt.want || len(msgs) != tt.n+1 {
					t.Errorf("%d messages after %v, want %d after %v", len(msgs)-1, got, tt.n, tt.want)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, cfg)
				w := r.peer().ws().ready()
				w.send(`{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/**"}`)
				w.next(bayeux.MetaSubscribe)
				start := time.Now()
				w.connect()
				synctest.Wait()
				tt.act(r)
				if msgs := <-w.frames; len(msgs) != tt.n || time.Since(start) != tt.want {
					t.Errorf("WebSocket: %d messages after %v, want %d after %v", len(msgs), time.Since(start), tt.n, tt.want)
				}
			})
		})
	}
	t.Run("each batch has its time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, cfg)
			p := r.peer().ready()
			p.subscribe("/a")
			start := time.Now()
			r.server.PublishMessage(lazy("/a"))
			time.Sleep(2 * time.Second)
			r.server.PublishMessage(lazy("/a"))
			p.connect() // at 3 s, with both
			time.Sleep(time.Second)
			r.server.PublishMessage(lazy("/a"))
			if msgs := p.connect(); len(msgs) != 2 || time.Since(start) != 7*time.Second {
				t.Errorf("%d messages after %v, want 2 after 7s", len(msgs), time.Since(start))
			}
		})
	})
	t.Run("a connect does not hurry them", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, cfg)
			p := r.peer().ready()
			p.subscribe("/a")
			start := time.Now()
			r.server.PublishMessage(lazy("/a"))
			if msgs := p.connect(); len(msgs) != 2 || time.Since(start) != 3*time.Second {
				t.Errorf("%d messages after %v", len(msgs), time.Since(start))
			}
		})
	})
	if _, err := bayeux.NewServer(bayeux.Config{LazyChannels: []string{"x"}}); err == nil {
		t.Error("NewServer took a lazy channel without a slash")
	}
}

func TestPublishMessage(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	p := r.peer().ready()
	p.subscribe("/a")
	m := &bayeux.Message{Channel: "/a", Data: jsontext.Value(`{"x":1}`), ClientID: "secret", ID: jsontext.Value("1"),
		Ext: map[string]jsontext.Value{"e": jsontext.Value("2")}}
	if err := r.server.PublishMessage(m); err != nil {
		t.Fatal(err)
	}
	if err := r.server.Session(p.id).DeliverMessage(m); err != nil {
		t.Fatal(err)
	}
	m.Ext["e"][0] = '3'
	for _, got := range find(p.connect(), "/a") {
		if b, _ := got.MarshalJSON(); string(b) != `{"channel":"/a","data":{"x":1},"ext":{"e":2}}` {
			t.Errorf("delivery %s", b)
		}
	}
	for name, bad := range map[string]*bayeux.Message{
		"no data":      {Channel: "/a"},
		"bad data":     {Channel: "/a", Data: jsontext.Value("{")},
		"bad ext":      {Channel: "/a", Data: jsontext.Value("1"), Ext: map[string]jsontext.Value{"e": jsontext.Value("]")}},
		"meta channel": {Channel: "/meta/connect", Data: jsontext.Value("1")},
		"wildcard":     {Channel: "/a/*", Data: jsontext.Value("1")},
	} {
		if r.server.PublishMessage(bad) == nil || r.server.Session(p.id).DeliverMessage(bad) == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := r.server.PublishMessage(lazy("/service/x")); !errors.Is(err, bayeux.ErrChannel) {
		t.Errorf("PublishMessage on a service channel = %v", err)
	}
}

func TestServerBatch(t *testing.T) {
	deliver := func(r *rig, id string) {
		sess := r.server.Session(id)
		sess.Batch(func() {
			for range 3 {
				sess.Batch(func() { sess.Deliver("/x", 1) })
				time.Sleep(time.Second)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer().ready()
		held := p.held()
		synctest.Wait()
		deliver(r, p.id)
		if got := find(<-held, "/x"); len(got) != 3 {
			t.Errorf("long-polling: %d in the first response, want 3", len(got))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		w := r.peer().ws().ready()
		deliver(r, w.id)
		if got := find(<-w.frames, "/x"); len(got) != 3 {
			t.Errorf("WebSocket: %d in the first frame, want 3", len(got))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer().ready()
		held := p.held()
		synctest.Wait()
		sess := r.server.Session(p.id)
		func() {
			defer func() { _ = recover() }()
			sess.Batch(func() { sess.Deliver("/x", 1); panic("f") })
		}()
		start := time.Now()
		if got := find(<-held, "/x"); len(got) != 1 || time.Since(start) != 0 {
			t.Errorf("after a panic: %d after %v, want 1 at once", len(got), time.Since(start))
		}
	})
}

// Bayeux 1.0, section 8.1.
func TestMultipleClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{MaxPollsPerBrowser: 2, MultiSessionInterval: 3 * time.Second, MaxInterval: 4 * time.Second})
		browser := r.peer()
		tabs := make([]*peer, 3)
		for i := range tabs {
			tabs[i] = browser.withID("")
			tabs[i].ready()
		}
		first, second := tabs[0].held(), tabs[1].held()
		synctest.Wait()
		start := time.Now()
		m := tabs[2].connect()[0]
		wantOK(t, m)
		if time.Since(start) != 0 || !m.Advice.MultipleClients || *m.Advice.Interval != 3000 || m.Advice.Reconnect != bayeux.ReconnectRetry {
			t.Errorf("third connect after %v: advice %+v", time.Since(start), m.Advice)
		}
		// Another browser, another transport, and a tab's own repetition are free.
		stranger := r.peer().ready()
		others := stranger.held()
		again := tabs[0].held()
		wantError(t, (<-first)[0], "409::connect_replaced")
		synctest.Wait()
		select {
		case <-again:
			t.Error("a tab's repetition of its connect is not held")
		default:
		}
		// It lives through the longer interval that it was told.
		time.Sleep(6 * time.Second)
		r.server.Session(tabs[1].id).Deliver("/x", 1)
		<-second
		m = tabs[2].send(`[{"channel":"/meta/connect","clientId":"$ID"}]`)[0]
		wantOK(t, m)
		if m.Advice == nil || m.Advice.MultipleClients || *m.Advice.Interval != 0 {
			t.Errorf("advice once there is room: %+v", m.Advice)
		}
		if time.Since(start) < 30*time.Second {
			t.Errorf("not held: answered after %v", time.Since(start))
		}
		<-again
		<-others
	})
}

// Over HTTP/2 a held connect keeps no other request from coming.
func TestMultipleClientsOverHTTP2(t *testing.T) {
	s, err := bayeux.NewServer(bayeux.Config{MaxPollsPerBrowser: 1, Timeout: 3 * time.Second, Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []int{1, 2} {
		web := httptest.NewUnstartedServer(s)
		web.EnableHTTP2 = version == 2
		web.StartTLS()
		defer web.Close()
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		browser := &peer{t: t, url: web.URL, http: web.Client()}
		browser.http.Jar = jar
		one, two := browser.withID("").ready(), browser.withID("").ready()
		held := one.held()
		time.Sleep(200 * time.Millisecond)
		start := time.Now()
		m := two.connect()[0]
		wantOK(t, m)
		if waited := time.Since(start) > 1500*time.Millisecond; waited != (version == 2) {
			t.Errorf("HTTP/%d: the second connect was held: %v", version, waited)
		}
		<-held
	}
}
