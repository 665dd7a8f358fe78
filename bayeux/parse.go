package bayeux

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

var (
	errSyntax   = errors.New("bayeux: malformed JSON")
	errShape    = errors.New("bayeux: not a Bayeux message")
	errTooDeep  = errors.New("bayeux: JSON nested too deeply")
	errTooMany  = errors.New("bayeux: too many messages in one batch")
	errCaseSlip = errors.New("bayeux: known member in the wrong case")
)

// maxTimestampLength bounds what is kept of a member that nothing depends on.
const maxTimestampLength = 64

// maxMembers bounds the members of a message, of its ext and of its advice. Ours and
// CometD's have fewer than 20.
const maxMembers = 64

// maxIDLength bounds what is echoed to a client that asks for it.
const maxIDLength = 256

// knownMembers are the names parse gives a meaning to. A spelling that differs
// only in case is refused, so that no second reader sees another message.
var knownMembers = []string{
	"channel", "id", "clientId", "version", "minimumVersion", "connectionType",
	"supportedConnectionTypes", "subscription", "successful", "error", "advice",
	"data", "ext", "timestamp",
}

// parseMessages reads an array of messages or a single message. It is the only
// place where wire bytes become a Message: security policy, extensions and
// dispatch all see its result.
//
// Nothing of b is kept.
func parseMessages(b []byte, maxDepth, maxBatch int) ([]*Message, error) {
	if m := parsePlain(b); m != nil && maxDepth > 1 && maxBatch > 0 {
		return []*Message{m}, nil
	}
	return decodeMessages(b, maxDepth, maxBatch)
}

func decodeMessages(b []byte, maxDepth, maxBatch int) ([]*Message, error) {
	if err := checkDepth(b, maxDepth); err != nil {
		return nil, err
	}
	dec := decoders.Get().(*jsontext.Decoder)
	dec.Reset(bytes.NewBuffer(b))
	msgs, err := parseAll(dec, maxBatch)
	if len(b) <= maxPooledBuffer { // what it noted of larger texts is large as well
		dec.Reset(noText)
		decoders.Put(dec)
	}
	return msgs, err
}

var (
	decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}
	noText   = strings.NewReader("")
)

func parseAll(dec *jsontext.Decoder, maxBatch int) ([]*Message, error) {
	var msgs []*Message
	switch dec.PeekKind() {
	case '{':
		m, err := parseMessage(dec)
		if err != nil {
			return nil, err
		}
		msgs = append(msgs, m)
	case '[':
		var err error
		if msgs, err = parseBatch(dec, maxBatch); err != nil {
			return nil, err
		}
	default:
		return nil, errShape
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, errSyntax
	}
	return msgs, nil
}

func parseBatch(dec *jsontext.Decoder, maxBatch int) ([]*Message, error) {
	if _, err := dec.ReadToken(); err != nil {
		return nil, errSyntax
	}
	var msgs []*Message
	for dec.PeekKind() != ']' {
		if len(msgs) == maxBatch {
			return nil, errTooMany
		}
		switch dec.PeekKind() {
		case '{':
		case jsontext.KindInvalid:
			return nil, errSyntax
		default:
			return nil, errShape
		}
		m, err := parseMessage(dec)
		if err != nil {
			return nil, err
		}
		msgs = append(msgs, m)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, errSyntax
	}
	return msgs, nil
}

func parseMessage(dec *jsontext.Decoder) (*Message, error) {
	m := new(Message)
	err := eachMember(dec, func(name string) error { return m.parseMember(dec, name) })
	if err != nil {
		return nil, err
	}
	m.Channel = trimChannel(m.Channel)
	m.sentOn = m.Channel
	for i, ch := range m.Subscription {
		m.Subscription[i] = trimChannel(ch)
	}
	return m, nil
}

// eachMember walks one object; f must consume the member's value.
func eachMember(dec *jsontext.Decoder, f func(name string) error) error {
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return errShape
	}
	for n := 0; dec.PeekKind() != '}'; n++ {
		if n == maxMembers {
			return errShape
		}
		tok, err := dec.ReadToken()
		if err != nil || tok.Kind() != '"' {
			return errSyntax
		}
		if err := f(tok.String()); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return errSyntax
	}
	return nil
}

func (m *Message) parseMember(dec *jsontext.Decoder, name string) (err error) {
	if dec.PeekKind() == 'n' && name != "data" {
		return skip(dec, name)
	}
	switch name {
	case "channel":
		m.Channel, err = readString(dec)
	case "id":
		m.ID, err = readID(dec)
	case "clientId":
		m.ClientID, err = readString(dec)
	case "version":
		m.Version, err = readString(dec)
	case "minimumVersion":
		m.MinimumVersion, err = readString(dec)
	case "connectionType":
		m.ConnectionType, err = readString(dec)
	case "supportedConnectionTypes":
		m.SupportedConnectionTypes, err = readStrings(dec)
	case "subscription":
		m.subscriptionList = dec.PeekKind() == '['
		m.Subscription, err = readStrings(dec)
	case "successful":
		m.Successful, err = readBool(dec)
	case "error":
		m.Error, err = readString(dec)
	case "advice":
		m.Advice, err = readAdvice(dec)
	case "data":
		m.Data, err = readRaw(dec)
	case "timestamp":
		m.Timestamp, err = readTimestamp(dec)
	case "ext":
		m.Ext, err = readExt(dec)
	default:
		err = skip(dec, name)
	}
	return err
}

// skip passes over the value of a member nobody reads.
func skip(dec *jsontext.Decoder, name string) error {
	for _, known := range knownMembers {
		if name != known && strings.EqualFold(name, known) {
			return errCaseSlip
		}
	}
	if dec.SkipValue() != nil {
		return errSyntax
	}
	return nil
}

func readString(dec *jsontext.Decoder) (string, error) {
	tok, err := dec.ReadToken()
	if err != nil {
		return "", errSyntax
	}
	if tok.Kind() != '"' {
		return "", errShape
	}
	return tok.String(), nil
}

// readTimestamp takes a string, and passes over what else senders call a time.
func readTimestamp(dec *jsontext.Decoder) (string, error) {
	if dec.PeekKind() != '"' {
		return "", skip(dec, "")
	}
	s, err := readString(dec)
	if len(s) > maxTimestampLength {
		s = ""
	}
	return s, err
}

func readBool(dec *jsontext.Decoder) (*bool, error) {
	tok, err := dec.ReadToken()
	if err != nil {
		return nil, errSyntax
	}
	if k := tok.Kind(); k != 't' && k != 'f' {
		return nil, errShape
	}
	return ptr(tok.Bool()), nil
}

func readRaw(dec *jsontext.Decoder) (jsontext.Value, error) {
	v, err := dec.ReadValue()
	if err != nil {
		return nil, errSyntax
	}
	return v.Clone(), nil
}

func readID(dec *jsontext.Decoder) (jsontext.Value, error) {
	if k := dec.PeekKind(); k != '"' && k != '0' {
		return nil, errShape
	}
	v, err := readRaw(dec)
	if err == nil && len(v) > maxIDLength {
		return nil, errShape
	}
	return v, err
}

// readStrings takes one string or an array of strings.
func readStrings(dec *jsontext.Decoder) ([]string, error) {
	if dec.PeekKind() != '[' {
		s, err := readString(dec)
		return []string{s}, err
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, errSyntax
	}
	list := []string{}
	for dec.PeekKind() != ']' {
		s, err := readString(dec)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, errSyntax
	}
	return list, nil
}

func readExt(dec *jsontext.Decoder) (map[string]jsontext.Value, error) {
	ext := make(map[string]jsontext.Value)
	err := eachMember(dec, func(name string) (err error) {
		ext[name], err = readRaw(dec)
		return err
	})
	return ext, err
}

func readAdvice(dec *jsontext.Decoder) (*Advice, error) {
	a := new(Advice)
	err := eachMember(dec, func(name string) (err error) {
		if dec.PeekKind() == 'n' {
			return skip(dec, "")
		}
		switch name {
		case "reconnect":
			a.Reconnect, err = readString(dec)
		case "interval":
			a.Interval, err = readMillis(dec)
		case "timeout":
			a.Timeout, err = readMillis(dec)
		case "maxInterval":
			a.MaxInterval, err = readMillis(dec)
		case "multiple-clients":
			var b *bool
			if b, err = readBool(dec); b != nil {
				a.MultipleClients = *b
			}
		default:
			err = skip(dec, "")
		}
		return err
	})
	return a, err
}

// readMillis takes any JSON number that is a whole count of milliseconds, also
// in the forms 1e3 and 1000.0 that some encoders write.
func readMillis(dec *jsontext.Decoder) (*int64, error) {
	if dec.PeekKind() != '0' {
		return nil, errShape
	}
	v, err := dec.ReadValue()
	if err != nil {
		return nil, errSyntax
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return &n, nil
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return nil, errShape
	}
	return ptr(int64(f)), nil
}

// checkDepth bounds nesting before anything is decoded. It looks only at
// brackets outside strings; whether the text is JSON at all is the decoder's
// business.
func checkDepth(b []byte, maxDepth int) error {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return errTooDeep
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
