package session

import (
	"context"
	"log/slog"
)

// AuditMessage is the message of every line of [NewAudit].
const AuditMessage = "sealed session event"

// NewAudit returns an Observer that writes one line for each event, as
// docs/audit.md describes: granted at level Info, refused and dropped at Warn,
// what could not be told or was lost at Error, and calls of the store that were
// answered at Debug. A line holds what [Event] holds and nothing else.
func NewAudit(logger *slog.Logger) Observer { return audit{logger} }

type audit struct{ log *slog.Logger }

func (a audit) Observe(ctx context.Context, e Event) {
	level := auditLevel(e)
	if !a.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 8)
	for _, member := range []struct{ name, value string }{
		{"event", string(e.Kind)}, {"result", string(e.Result)}, {"reason", string(e.Reason)},
		{"session", e.Session}, {"attribute", e.Attribute}, {"operation", e.Operation},
	} {
		if member.value != "" {
			attrs = append(attrs, slog.String(member.name, member.value))
		}
	}
	switch e.Kind {
	case KindRestore, KindEarly, KindStore:
		attrs = append(attrs, slog.Int64("microseconds", e.Duration.Microseconds()))
	case KindDrain:
		attrs = append(attrs, slog.Int("sessions", e.Count))
	}
	a.log.LogAttrs(ctx, level, AuditMessage, attrs...)
}

func auditLevel(e Event) slog.Level {
	switch e.Result {
	case ResultGranted, ResultJoined:
		if e.Kind == KindStore {
			return slog.LevelDebug
		}
		return slog.LevelInfo
	case ResultRefused, ResultDropped:
		return slog.LevelWarn
	}
	return slog.LevelError
}
