// Package sealedotel counts what becomes of sessions with OpenTelemetry. The
// instruments and their attributes are in docs/audit.md; every attribute is from
// a closed set or a name that the policy declares. Measurements carry the context
// of the request, so that they can be joined with its trace.
//
//	metrics, err := sealedotel.New(otel.GetMeterProvider())
//	sessions, err := session.New(ctx, session.Config{Observer: metrics})
//	registration, err := metrics.Watch(sessions)
package sealedotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/sealedblob/sealedblob/session"
)

// Scope is the name of the instrumentation scope.
const Scope = "github.com/sealedblob/sealedblob"

// Observer is a session.Observer. It is safe for concurrent use.
type Observer struct {
	meter      metric.Meter
	events     metric.Int64Counter
	attributes metric.Int64Counter
	drained    metric.Int64Counter
	store      metric.Float64Histogram
	restore    metric.Float64Histogram
}

var _ session.Observer = (*Observer)(nil)

// New makes the instruments. One Observer may serve several managers, whose
// events are added up.
func New(provider metric.MeterProvider) (*Observer, error) {
	meter := provider.Meter(Scope)
	seconds := metric.WithExplicitBucketBoundaries(0.0001, 0.0004, 0.0016, 0.0064, 0.0256, 0.1024, 0.4096, 1.6384)
	var errs [5]error
	o := &Observer{meter: meter}
	o.events, errs[0] = meter.Int64Counter("sealedblob.events", metric.WithDescription("What became of sessions."))
	o.attributes, errs[1] = meter.Int64Counter("sealedblob.attribute.events", metric.WithDescription("What became of attributes and rights."))
	o.drained, errs[2] = meter.Int64Counter("sealedblob.drained_sessions", metric.WithDescription("Sessions that a drain let go."))
	o.store, errs[3] = meter.Float64Histogram("sealedblob.store.duration", metric.WithUnit("s"), seconds, metric.WithDescription("How long calls of the replay store took."))
	o.restore, errs[4] = meter.Float64Histogram("sealedblob.restore.duration", metric.WithUnit("s"), seconds, metric.WithDescription("How long restores took."))
	return o, errors.Join(errs[:]...)
}

// Observe implements session.Observer.
func (o *Observer) Observe(ctx context.Context, e session.Event) {
	kind, result, reason := attribute.String("event", string(e.Kind)), attribute.String("result", string(e.Result)), attribute.String("reason", string(e.Reason))
	switch e.Kind {
	case session.KindStore:
		o.store.Record(ctx, e.Duration.Seconds(), metric.WithAttributes(attribute.String("operation", e.Operation), result))
		return
	case session.KindDrain:
		o.drained.Add(ctx, int64(e.Count), metric.WithAttributes(result))
		return
	case session.KindRestore:
		if e.Duration > 0 { // or it was refused unread
			o.restore.Record(ctx, e.Duration.Seconds(), metric.WithAttributes(result))
		}
	case session.KindDropped, session.KindTake, session.KindGrant:
		o.attributes.Add(ctx, 1, metric.WithAttributes(kind, result, reason, attribute.String("attribute", e.Attribute)))
	}
	o.events.Add(ctx, 1, metric.WithAttributes(kind, result, reason))
}

// Watch makes the gauges of one manager; with makes those of several managers
// differ. Unregister what it returns when the manager is given up.
func (o *Observer) Watch(m *session.Manager, with ...attribute.KeyValue) (metric.Registration, error) {
	var errs [4]error
	var sessions, parked, draining, circuit metric.Int64ObservableGauge
	sessions, errs[0] = o.meter.Int64ObservableGauge("sealedblob.sessions", metric.WithDescription("Sessions in memory."))
	parked, errs[1] = o.meter.Int64ObservableGauge("sealedblob.parked_requests", metric.WithDescription("Requests that wait for their session."))
	draining, errs[2] = o.meter.Int64ObservableGauge("sealedblob.draining", metric.WithDescription("1 while the node is being drained."))
	circuit, errs[3] = o.meter.Int64ObservableGauge("sealedblob.store.circuit",
		metric.WithDescription("0 while the store is asked, 1 while one call asks whether it is back, 2 while none does."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	set := metric.WithAttributes(with...)
	return o.meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		stats := m.Stats()
		to.ObserveInt64(sessions, int64(stats.Sessions), set)
		to.ObserveInt64(parked, int64(stats.Parked), set)
		to.ObserveInt64(draining, flag(stats.Draining), set)
		to.ObserveInt64(circuit, int64(stats.Circuit), set)
		return nil
	}, sessions, parked, draining, circuit)
}

func flag(set bool) int64 {
	if set {
		return 1
	}
	return 0
}
