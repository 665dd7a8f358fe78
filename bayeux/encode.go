package bayeux

import (
	stdjson "encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// rawMessage lets callers hand over what encoding/json calls pre-encoded.
type rawMessage = stdjson.RawMessage

// MarshalJSON renders m as it goes over the wire.
func (m *Message) MarshalJSON() ([]byte, error) { return m.appendTo(nil), nil }

// UnmarshalJSON reads one message with the rules, and the default nesting
// limit, of the wire.
func (m *Message) UnmarshalJSON(b []byte) error {
	msgs, err := parseMessages(b, defaultMaxDepth, 1)
	if err != nil {
		return err
	}
	if len(msgs) != 1 {
		return errShape
	}
	*m = *msgs[0]
	return nil
}

// appendTo renders m by hand: order and spelling are fixed, absent members
// cost nothing, raw values are not parsed again.
func (m *Message) appendTo(b []byte) []byte {
	if b == nil {
		b = make([]byte, 0, 192+len(m.Data)) // most replies, and most deliveries
	}
	w := objectWriter{b: append(b, '{')}
	w.str("channel", m.Channel)
	w.raw("id", m.ID)
	w.str("clientId", m.ClientID)
	w.str("version", m.Version)
	w.str("minimumVersion", m.MinimumVersion)
	w.str("connectionType", m.ConnectionType)
	w.list("supportedConnectionTypes", m.SupportedConnectionTypes, true)
	w.list("subscription", m.Subscription, m.subscriptionList)
	if m.Successful != nil {
		w.name("successful")
		w.b = strconv.AppendBool(w.b, *m.Successful)
	}
	w.str("error", m.Error)
	if m.Advice != nil {
		w.name("advice")
		w.b = m.Advice.appendTo(w.b)
	}
	w.raw("data", m.Data)
	if len(m.Ext) > 0 {
		w.name("ext")
		w.b = appendExt(w.b, m.Ext)
	}
	w.str("timestamp", m.Timestamp)
	return append(w.b, '}')
}

func (a *Advice) appendTo(b []byte) []byte {
	w := objectWriter{b: append(b, '{')}
	w.str("reconnect", a.Reconnect)
	w.millis("interval", a.Interval)
	w.millis("timeout", a.Timeout)
	w.millis("maxInterval", a.MaxInterval)
	if a.MultipleClients {
		w.name("multiple-clients")
		w.b = append(w.b, "true"...)
	}
	return append(w.b, '}')
}

func appendExt(b []byte, ext map[string]jsontext.Value) []byte {
	w := objectWriter{b: append(b, '{')}
	for _, name := range slices.Sorted(maps.Keys(ext)) {
		if v := ext[name]; len(v) > 0 {
			w.raw(name, v)
		}
	}
	return append(w.b, '}')
}

// joinBatch puts rendered messages into one JSON array.
func joinBatch(msgs [][]byte) []byte {
	return appendBatch(make([]byte, 0, batchLength(msgs)), msgs)
}

// batchLength is how long [appendBatch] makes these messages.
func batchLength(msgs [][]byte) int {
	n := 1 + max(1, len(msgs)) // brackets and commas
	for _, m := range msgs {
		n += len(m)
	}
	return n
}

func appendBatch(b []byte, msgs [][]byte) []byte {
	b = append(b, '[')
	for i, m := range msgs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, m...)
	}
	return append(b, ']')
}

// objectWriter appends the members of one object.
type objectWriter struct {
	b      []byte
	opened bool
}

func (w *objectWriter) name(s string) {
	if w.opened {
		w.b = append(w.b, ',')
	}
	w.opened = true
	w.quote(s)
	w.b = append(w.b, ':')
}

// quote replaces invalid UTF-8, which cannot come from a peer: parse refused it.
func (w *objectWriter) quote(s string) {
	if isPlain(s) {
		w.b = append(append(append(w.b, '"'), s...), '"')
		return
	}
	w.b, _ = jsontext.AppendQuote(w.b, s)
}

// isPlain reports whether s is printable ASCII that needs no escapes.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (w *objectWriter) str(name, s string) {
	if s != "" {
		w.name(name)
		w.quote(s)
	}
}

func (w *objectWriter) raw(name string, v jsontext.Value) {
	if len(v) > 0 {
		w.name(name)
		w.b = append(w.b, v...)
	}
}

func (w *objectWriter) millis(name string, n *int64) {
	if n != nil {
		w.name(name)
		w.b = strconv.AppendInt(w.b, *n, 10)
	}
}

func (w *objectWriter) list(name string, list []string, array bool) {
	if len(list) == 0 {
		return
	}
	if len(list) == 1 && !array {
		w.str(name, list[0])
		return
	}
	w.name(name)
	w.b = append(w.b, '[')
	for i, s := range list {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.quote(s)
	}
	w.b = append(w.b, ']')
}
