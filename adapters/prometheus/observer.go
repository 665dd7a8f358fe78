// Package sealedprom counts what becomes of sessions for Prometheus. The metrics
// and their labels are in docs/audit.md; every label is from a closed set or a
// name that the policy declares.
//
//	metrics, err := sealedprom.New(registry)
//	sessions, err := session.New(ctx, session.Config{Observer: metrics})
//	err = metrics.Watch(sessions)
package sealedprom

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealedblob/sealedblob/session"
)

// Observer is a session.Observer. It is safe for concurrent use.
type Observer struct {
	registerer prometheus.Registerer
	events     *prometheus.CounterVec
	attributes *prometheus.CounterVec
	drained    *prometheus.CounterVec
	store      *prometheus.HistogramVec
	restore    *prometheus.HistogramVec
}

var _ session.Observer = (*Observer)(nil)

// New registers the metrics. One Observer may serve several managers, whose
// events are added up; the error of a second one on the same registerer is
// Prometheus' own.
func New(registerer prometheus.Registerer) (*Observer, error) {
	seconds := prometheus.ExponentialBuckets(0.0001, 4, 8) // 0.1 ms to 1.6 s
	o := &Observer{
		registerer: registerer,
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealedblob_events_total", Help: "What became of sessions.",
		}, []string{"event", "result", "reason"}),
		attributes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealedblob_attribute_events_total", Help: "What became of attributes and rights.",
		}, []string{"event", "result", "reason", "attribute"}),
		drained: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealedblob_drained_sessions_total", Help: "Sessions that a drain let go.",
		}, []string{"result"}),
		store: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sealedblob_store_seconds", Help: "How long calls of the replay store took.", Buckets: seconds,
		}, []string{"operation", "result"}),
		restore: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sealedblob_restore_seconds", Help: "How long restores took.", Buckets: seconds,
		}, []string{"result"}),
	}
	for _, c := range []prometheus.Collector{o.events, o.attributes, o.drained, o.store, o.restore} {
		if err := registerer.Register(c); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// Observe implements session.Observer.
func (o *Observer) Observe(_ context.Context, e session.Event) {
	kind, result, reason := string(e.Kind), string(e.Result), string(e.Reason)
	switch e.Kind {
	case session.KindStore:
		o.store.WithLabelValues(e.Operation, result).Observe(e.Duration.Seconds())
		return
	case session.KindDrain:
		o.drained.WithLabelValues(result).Add(float64(e.Count))
		return
	case session.KindRestore:
		if e.Duration > 0 { // or it was refused unread
			o.restore.WithLabelValues(result).Observe(e.Duration.Seconds())
		}
	case session.KindDropped, session.KindTake, session.KindGrant:
		o.attributes.WithLabelValues(kind, result, reason, e.Attribute).Inc()
	}
	o.events.WithLabelValues(kind, result, reason).Inc()
}

// Watch registers the gauges of one manager. For several, give each Observer a
// registerer with a label of its own (prometheus.WrapRegistererWith).
func (o *Observer) Watch(m *session.Manager) error {
	gauge := func(name, help string, value func(session.Stats) float64) error {
		return o.registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return value(m.Stats()) }))
	}
	return errors.Join(
		gauge("sealedblob_sessions", "Sessions in memory.", func(s session.Stats) float64 { return float64(s.Sessions) }),
		gauge("sealedblob_parked_requests", "Requests that wait for their session.", func(s session.Stats) float64 { return float64(s.Parked) }),
		gauge("sealedblob_draining", "1 while the node is being drained.", func(s session.Stats) float64 {
			if s.Draining {
				return 1
			}
			return 0
		}),
		gauge("sealedblob_store_circuit", "0 while the store is asked, 1 while one call asks whether it is back, 2 while none does.",
			func(s session.Stats) float64 { return float64(s.Circuit) }),
	)
}
