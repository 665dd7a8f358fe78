package sealedprom_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	sealedprom "github.com/sealedblob/sealedblob/adapters/prometheus"
	"github.com/sealedblob/sealedblob/internal/nodes"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// What a scrape reads after a visitor moved, an attacker tried and a node was
// drained.
func TestScrape(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics, err := sealedprom.New(registry)
	if err != nil {
		t.Fatal(err)
	}
	rules := nodes.Policy(t, policy.Rule{Name: "cart", TTL: time.Hour}, policy.Rule{Name: "ticket", TTL: time.Minute, Once: true})
	cluster := nodes.Start(t, 2, session.Config{Policy: rules, Observer: metrics}, func(m *session.Manager) http.Handler {
		return nodes.Mount(m, http.HandlerFunc(serve))
	})
	if err := metrics.Watch(cluster[1].Sessions); err != nil {
		t.Fatal(err)
	}
	v := nodes.NewVisitor(t)
	v.Get(cluster[0].URL + "/set")
	before := v.Set(cluster[0])
	v.Get(cluster[0].URL + "/take")
	v.Get(cluster[0].URL + "/take?name=" + strings.Repeat("x", 1000))
	if state := v.Present(cluster[1], before); state != session.StateRestored {
		t.Fatal(state)
	}
	before.Attempt = "BAAAAAAAAAAAAAAAAAAAAA" // an attacker has the same set
	if state := v.Present(cluster[0], before); state != session.StateRefused {
		t.Fatal(state)
	}
	text := scrape(t, registry)
	for _, want := range []string{
		`sealedblob_events_total{event="restore",reason="",result="granted"} 1`,
		`sealedblob_events_total{event="restore",reason="superseded",result="refused"} 1`,
		`sealedblob_events_total{event="take",reason="no_attribute",result="refused"} 1`,
		`sealedblob_attribute_events_total{attribute="ticket",event="take",reason="",result="granted"} 1`,
		`sealedblob_attribute_events_total{attribute="",event="take",reason="no_attribute",result="refused"} 1`,
		`sealedblob_attribute_events_total{attribute="ticket",event="dropped",reason="replayed",result="dropped"} 1`,
		`sealedblob_restore_seconds_count{result="granted"} 1`,
		`sealedblob_store_seconds_count{operation="restore",result="granted"} 2`,
		`sealedblob_store_seconds_count{operation="take",result="granted"} 1`,
		`sealedblob_sessions 1`,
		`sealedblob_parked_requests 0`,
		`sealedblob_draining 0`,
		`sealedblob_store_circuit 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the scrape does not have %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // no client is there to acknowledge
	defer cancel()
	cluster[1].Sessions.Drain(ctx)
	text = scrape(t, registry)
	for _, want := range []string{`sealedblob_drained_sessions_total{result="unacknowledged"} 1`, `sealedblob_draining 1`, `sealedblob_sessions 0`} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("after the drain the scrape does not have %s", want)
		}
	}
	if regexp.MustCompile(`(?m)_seconds_sum\{.*\} 0$`).MatchString(text) {
		t.Error("something took no time")
	}
	labels := regexp.MustCompile(`="([^"]*)"`)
	for _, label := range labels.FindAllStringSubmatch(text, -1) {
		if len(label[1]) > 32 {
			t.Errorf("a label of %d bytes", len(label[1]))
		}
	}
}

// A store that is away is a class of its own, with its time.
func TestStoreErrors(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics, err := sealedprom.New(registry)
	if err != nil {
		t.Fatal(err)
	}
	store := replay.NewMemory(replay.MemoryConfig{})
	rules := nodes.Policy(t, policy.Rule{Name: "ticket", TTL: time.Minute, Once: true})
	cluster := nodes.Start(t, 1, session.Config{Policy: rules, Observer: metrics, Store: store}, func(m *session.Manager) http.Handler {
		return nodes.Mount(m, http.HandlerFunc(serve))
	})
	v := nodes.NewVisitor(t)
	v.Get(cluster[0].URL + "/set")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	v.Get(cluster[0].URL + "/take")
	text := scrape(t, registry)
	for _, want := range []string{
		`sealedblob_store_seconds_count{operation="take",result="unavailable"} 1`,
		`sealedblob_events_total{event="take",reason="other",result="unavailable"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the scrape does not have %s:\n%s", want, text)
		}
	}
}

// away is a store that can't be reached.
type away struct{ replay.Store }

func (away) Take(context.Context, replay.Place, replay.Owner, replay.Right) (replay.Verdict, replay.Outcome, error) {
	return replay.Refused, replay.Lost, errors.New("connection refused")
}

// The gauge says that the store is not asked any more, and the counter how often
// it came to that.
func TestCircuit(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics, err := sealedprom.New(registry)
	if err != nil {
		t.Fatal(err)
	}
	store := away{replay.NewMemory(replay.MemoryConfig{})}
	rules := nodes.Policy(t, policy.Rule{Name: "ticket", TTL: time.Minute, Once: true})
	cluster := nodes.Start(t, 1, session.Config{Policy: rules, Observer: metrics, Store: store}, func(m *session.Manager) http.Handler {
		return nodes.Mount(m, http.HandlerFunc(serve))
	})
	if err := metrics.Watch(cluster[0].Sessions); err != nil {
		t.Fatal(err)
	}
	v := nodes.NewVisitor(t)
	v.Get(cluster[0].URL + "/set")
	for range 5 {
		v.Get(cluster[0].URL + "/take")
	}
	text := scrape(t, registry)
	for _, want := range []string{
		`sealedblob_store_circuit 2`,
		`sealedblob_events_total{event="circuit",reason="other",result="unavailable"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the scrape does not have %s:\n%s", want, text)
		}
	}
}

func TestTwoObserversOnOneRegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	if _, err := sealedprom.New(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := sealedprom.New(registry); err == nil {
		t.Error("the second is taken")
	}
}

// serve sets attributes and takes a right.
func serve(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	switch name := r.FormValue("name"); {
	case r.URL.Path == "/set":
		_ = s.Set(r.Context(), "cart", "tea")
		_ = s.Set(r.Context(), "ticket", "row 7")
	case name != "":
		_ = s.Take(r.Context(), name, session.Owner{1}, new(any))
	default:
		_ = s.Take(r.Context(), "ticket", session.Owner{1}, new(any))
	}
}

// scrape reads what Prometheus would.
func scrape(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()
	res, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
