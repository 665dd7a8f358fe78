package bayeux

import "bytes"

// parsePlain reads what clients send most: one message, alone or in an array, of plain
// strings without white space around them, such as a connect. Nil means that the text
// is for the decoder, be it good or bad; what parsePlain does read, the decoder would
// read as the same.
func parsePlain(b []byte) *Message {
	if inner, ok := bytes.CutPrefix(b, []byte("[")); ok {
		if b, ok = bytes.CutSuffix(inner, []byte("]")); !ok {
			return nil
		}
	}
	rest, ok := bytes.CutPrefix(b, []byte("{"))
	if !ok {
		return nil
	}
	m := new(Message)
	for more := true; more; {
		var name, value []byte
		if name, rest, ok = plainString(rest); !ok {
			return nil
		}
		if rest, ok = bytes.CutPrefix(rest, []byte(":")); !ok {
			return nil
		}
		quoted := rest
		if value, rest, ok = plainString(rest); !ok {
			return nil
		}
		if !m.setPlain(name, value, quoted[:len(value)+2]) {
			return nil
		}
		rest, more = bytes.CutPrefix(rest, []byte(","))
	}
	if string(rest) != "}" {
		return nil
	}
	m.Channel = trimChannel(m.Channel)
	m.sentOn = m.Channel
	return m
}

// plainString cuts a string of printable ASCII without escapes from the front of b.
func plainString(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return b[1:i], b[i+1:], true
		case c < ' ' || c > '~' || c == '\\':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// setPlain sets one of the members that a connect has. It reports false for any other,
// and for a second one of the same name.
func (m *Message) setPlain(name, value, quoted []byte) bool {
	var member *string
	switch string(name) {
	case "channel":
		member = &m.Channel
	case "clientId":
		member = &m.ClientID
	case "connectionType":
		member = &m.ConnectionType
	case "id":
		if m.ID != nil || len(quoted) > maxIDLength {
			return false
		}
		m.ID = bytes.Clone(quoted)
		return true
	default:
		return false
	}
	if *member != "" || len(value) == 0 {
		return false
	}
	*member = string(value)
	return true
}
