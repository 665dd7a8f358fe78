package sealedotel_test

import (
	"context"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	sealedotel "github.com/sealedblob/sealedblob/adapters/otel"
	"github.com/sealedblob/sealedblob/internal/nodes"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/session"
)

// What the SDK collects after a visitor moved, an attacker tried and a node was
// drained.
func TestCollect(t *testing.T) {
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	metrics, err := sealedotel.New(provider)
	if err != nil {
		t.Fatal(err)
	}
	rules := nodes.Policy(t, policy.Rule{Name: "cart", TTL: time.Hour}, policy.Rule{Name: "ticket", TTL: time.Minute, Once: true})
	cluster := nodes.Start(t, 2, session.Config{Policy: rules, Observer: metrics}, func(m *session.Manager) http.Handler {
		return nodes.Mount(m, http.HandlerFunc(serve))
	})
	for i, n := range cluster {
		if _, err := metrics.Watch(n.Sessions, attribute.Int("node", i)); err != nil {
			t.Fatal(err)
		}
	}
	v := nodes.NewVisitor(t)
	v.Get(cluster[0].URL + "/set")
	before := v.Set(cluster[0])
	v.Get(cluster[0].URL + "/take?name=ticket")
	v.Get(cluster[0].URL + "/take?name=" + strings.Repeat("x", 1000))
	if state := v.Present(cluster[1], before); state != session.StateRestored {
		t.Fatal(state)
	}
	before.Attempt = "BAAAAAAAAAAAAAAAAAAAAA" // an attacker has the same set
	if state := v.Present(cluster[0], before); state != session.StateRefused {
		t.Fatal(state)
	}
	expect(t, collect(t, reader),
		"sealedblob.events event=restore reason= result=granted: 1",
		"sealedblob.events event=restore reason=superseded result=refused: 1",
		"sealedblob.attribute.events attribute=ticket event=take reason= result=granted: 1",
		"sealedblob.attribute.events attribute= event=take reason=no_attribute result=refused: 1",
		"sealedblob.attribute.events attribute=ticket event=dropped reason=replayed result=dropped: 1",
		"sealedblob.restore.duration result=granted: 1",
		"sealedblob.store.duration operation=restore result=granted: 2",
		"sealedblob.store.duration operation=take result=granted: 1",
		"sealedblob.sessions node=1: 1",
		"sealedblob.parked_requests node=1: 0",
		"sealedblob.draining node=1: 0",
		"sealedblob.store.circuit node=1: 0",
	)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // no client is there to acknowledge
	defer cancel()
	cluster[1].Sessions.Drain(ctx)
	expect(t, collect(t, reader),
		"sealedblob.drained_sessions result=unacknowledged: 1",
		"sealedblob.sessions node=1: 0",
		"sealedblob.draining node=1: 1",
	)
}

func expect(t *testing.T, got map[string]int64, want ...string) {
	t.Helper()
	for _, line := range want {
		name, count, _ := strings.Cut(line, ": ")
		if n, ok := got[name]; !ok || fmt.Sprint(n) != count {
			t.Errorf("%s is %d (there: %t), want %s", name, n, ok, count)
		}
	}
	for name := range got {
		if len(name) > 120 {
			t.Errorf("a series with %d bytes of attributes", len(name))
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// serve sets attributes and takes a right.
func serve(_ http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	if r.URL.Path == "/set" {
		_ = s.Set(r.Context(), "cart", "tea")
		_ = s.Set(r.Context(), "ticket", "row 7")
		return
	}
	_ = s.Take(r.Context(), r.FormValue("name"), session.Owner{1}, new(any))
}

// collect reads every series: its value, or the count of a histogram.
func collect(t *testing.T, reader *metric.ManualReader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name != sealedotel.Scope {
			t.Errorf("scope %s", scope.Scope.Name)
		}
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					out[series(m.Name, p.Attributes)] = p.Value
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					out[series(m.Name, p.Attributes)] = p.Value
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					if p.Sum <= 0 {
						t.Errorf("%s took no time", m.Name)
					}
					out[series(m.Name, p.Attributes)] = int64(p.Count)
				}
			default:
				t.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return out
}

func series(name string, set attribute.Set) string {
	var words []string
	for _, kv := range set.ToSlice() {
		words = append(words, string(kv.Key)+"="+kv.Value.String())
	}
	sort.Strings(words)
	return name + " " + strings.Join(words, " ")
}
