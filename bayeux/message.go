package bayeux

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The meta channels of the protocol.
const (
	MetaHandshake   = "/meta/handshake"
	MetaConnect     = "/meta/connect"
	MetaSubscribe   = "/meta/subscribe"
	MetaUnsubscribe = "/meta/unsubscribe"
	MetaDisconnect  = "/meta/disconnect"
)

// The connection types this package speaks.
const (
	LongPolling     = "long-polling"
	CallbackPolling = "callback-polling" // server only; see Config.CallbackPolling
	WebSocket       = "websocket"
)

// What an [Advice] can ask a client to do next.
const (
	ReconnectRetry     = "retry"     // go on with /meta/connect
	ReconnectHandshake = "handshake" // shake hands again
	ReconnectNone      = "none"      // give up
)

// Message is one Bayeux message, as read from a peer or about to be sent.
//
// A member that is absent, or null, is the zero value; Data alone tells null
// (the four bytes) from absent (nil). Parts whose shape is the application's
// affair stay raw: read them with [Message.DecodeData] and [Message.DecodeExt].
//
// A Message is not safe for concurrent use.
type Message struct {
	Channel string
	// ID is the sender's id for this message, a JSON string or number. It is
	// echoed exactly as it came.
	ID             jsontext.Value
	ClientID       string
	Version        string
	MinimumVersion string
	ConnectionType string
	// SupportedConnectionTypes is sent with a handshake and its reply.
	SupportedConnectionTypes []string
	// Subscription is one or more channels; on the wire a string or an array.
	Subscription []string
	Successful   *bool
	// Error has the form "code:arguments:text".
	Error  string
	Advice *Advice
	// Data must be nil or one valid JSON value.
	Data jsontext.Value
	// Ext must hold valid JSON values; [Message.SetExt] sees to that.
	Ext map[string]jsontext.Value

	// Lazy, of a message the server sends, lets it wait for the next response to
	// its receiver, up to [Config.MaxLazyTimeout]. It is not sent.
	Lazy bool
	// Timestamp is the sender's word on when it sent the message.
	Timestamp string

	// request is the client's message that this one answers or passes on.
	request  *Message
	received time.Time

	// sentOn is the channel as it came, which the reply is on even if an
	// extension moved the message.
	sentOn string
	// subscriptionList notes that Subscription came as an array, so that the
	// reply has the form the client knows.
	subscriptionList bool
}

// Advice tells a client how to go on. Durations are milliseconds; nil leaves
// the client's value as it is.
type Advice struct {
	Reconnect       string // one of the Reconnect constants, or "" to leave it as it is
	Interval        *int64 // wait this long before the next connect or handshake
	Timeout         *int64 // the server holds a connect this long
	MaxInterval     *int64 // the server forgets a client that is silent this long
	MultipleClients bool   // the server saw more clients of one browser than it likes
}

// DecodeData decodes m.Data into into. A field gets the member of exactly its name:
// for {"text": …} it is tagged `json:"text"`. Members that into has no field for, as a
// newer sender may add, are left out.
//
// Duplicate members and invalid UTF-8 are refused.
func (m *Message) DecodeData(into any) error { return m.decodeData(into) }

// DecodeDataStrict is DecodeData for formats that are agreed upon: it refuses members
// that into has no field for.
func (m *Message) DecodeDataStrict(into any) error {
	return m.decodeData(into, json.RejectUnknownMembers(true))
}

func (m *Message) decodeData(into any, opts ...json.Options) error {
	if m.Data == nil {
		return errors.New("bayeux: message has no data")
	}
	if err := decode(m.Data, into, opts...); err != nil {
		return fmt.Errorf("bayeux: data: %w", err)
	}
	return nil
}

// DecodeExt decodes the member name of m.Ext into into, and says whether there
// was one. It is as strict as [Message.DecodeDataStrict].
func (m *Message) DecodeExt(name string, into any) (present bool, err error) {
	raw, ok := m.Ext[name]
	if !ok {
		return false, nil
	}
	if err := strictDecode(raw, into); err != nil {
		return true, fmt.Errorf("bayeux: ext: %w", err)
	}
	return true, nil
}

// SetExt encodes v as the member name of m.Ext.
func (m *Message) SetExt(name string, v any) error {
	raw, err := encodeValue(v)
	if err != nil {
		return fmt.Errorf("bayeux: ext: %w", err)
	}
	if m.Ext == nil {
		m.Ext = make(map[string]jsontext.Value, 1)
	}
	m.Ext[name] = raw
	return nil
}

// Request returns the client's message that m answers, or that made the server
// broadcast m; nil if there is none. It is for an [Extension]'s Outgoing, and not
// to be changed. Of a connect that was held it has Channel, ID, ClientID and, up to 16 KiB,
// Ext.
func (m *Message) Request() *Message { return m.request }

// maxWaitingExt bounds the ext that a held connect keeps, in bytes.
const maxWaitingExt = 16 << 10

// waiting is what is kept of m, a connect, while it is held.
func (m *Message) waiting() *Message {
	kept := &Message{Channel: m.Channel, ID: m.ID, ClientID: m.ClientID, Ext: m.Ext, received: m.received}
	size := 0
	for name, v := range m.Ext {
		size += len(name) + len(v)
	}
	if size > maxWaitingExt {
		kept.Ext = nil
	}
	return kept
}

// Received is when the server had read the request with m in it; zero for
// messages that the server made.
func (m *Message) Received() time.Time { return m.received }

// IsMeta reports whether m is on a meta channel.
func (m *Message) IsMeta() bool { return isMeta(m.Channel) }

// failed reports whether m says that it was not successful.
func (m *Message) failed() bool { return m.Successful != nil && !*m.Successful }

// publication is what of m is sent when it is published: Channel, Data and Ext.
func (m *Message) publication() (*Message, error) {
	if err := checkPublish(m.Channel); err != nil {
		return nil, err
	}
	data, err := checkedRaw(m.Data)
	if err != nil {
		return nil, err
	}
	out := &Message{Channel: m.Channel, Data: data}
	for name, v := range m.Ext {
		if err := out.SetExt(name, v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readable reports whether a peer that reads so deep, and our parser, can read m: the
// values of data and ext stand in the message, and it in a batch's array.
func (m *Message) readable(maxDepth int) bool {
	if len(m.Ext) > maxMembers || checkDepth(m.Data, maxDepth-2) != nil {
		return false
	}
	for _, v := range m.Ext {
		if checkDepth(v, maxDepth-3) != nil {
			return false
		}
	}
	return true
}

// shallowClone copies m so that one receiver's extension cannot change what
// another receiver gets. Raw values are shared: nobody writes into them.
func (m *Message) shallowClone() *Message {
	c := *m
	if m.Ext != nil {
		c.Ext = make(map[string]jsontext.Value, len(m.Ext))
		for k, v := range m.Ext {
			c.Ext[k] = v
		}
	}
	if m.Advice != nil {
		a := *m.Advice
		c.Advice = &a
	}
	return &c
}

func strictDecode(raw jsontext.Value, into any) error {
	return decode(raw, into, json.RejectUnknownMembers(true))
}

// decode relies on json's defaults: names are case-sensitive, duplicate
// members and invalid UTF-8 are errors.
func decode(raw jsontext.Value, into any, opts ...json.Options) error {
	err := json.Unmarshal(raw, into, opts...)
	if err == nil {
		return nil
	}
	// The library's text quotes its input, which is a stranger's: leave it out.
	if pos, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("not acceptable at byte %d", pos.ByteOffset)
	}
	if pos, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("malformed at byte %d", pos.ByteOffset)
	}
	return errors.New("not acceptable")
}

// encodeValue renders v, taking raw JSON as it is once it is known to be valid.
func encodeValue(v any) (jsontext.Value, error) {
	switch raw := v.(type) {
	case jsontext.Value:
		return checkedRaw(raw)
	case rawMessage:
		return checkedRaw(jsontext.Value(raw))
	}
	return json.Marshal(v)
}

func checkedRaw(raw jsontext.Value) (jsontext.Value, error) {
	if !raw.IsValid() {
		return nil, errors.New("raw value is not valid JSON")
	}
	return raw.Clone(), nil
}

func ptr[T any](v T) *T { return &v }
