package bayeux

import (
	"bytes"
	"errors"
	"io"
	"log/slog"

	"github.com/go-json-experiment/json/jsontext"
)

func (c *Client) skip(why error) {
	c.skipped.tell(c.cfg.Logger, slog.LevelWarn, "bayeux: delivery skipped", "error", why)
}

// parseIncoming reads what a server sent together. A delivery that the client can't
// take, as servers pass on what others published, is left out: it must not break the
// connection, nor come again and again until it is acknowledged.
func (c *Client) parseIncoming(b []byte) ([]*Message, error) {
	msgs, whole := parseMessages(b, clientMaxDepth, clientMaxBatch)
	if whole == nil {
		return msgs, nil
	}
	dec := lenient(b)
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '[' {
		return nil, whole
	}
	for n := 0; dec.PeekKind() == '{'; n++ {
		raw, err := dec.ReadValue()
		if err != nil || n == clientMaxBatch {
			return nil, whole
		}
		one, err := parseMessages(raw, clientMaxDepth-1, 1) // the batch is one level
		switch {
		case err == nil:
			msgs = append(msgs, one...)
		case isDelivery(raw):
			c.skip(err)
		default:
			return nil, err
		}
	}
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != ']' {
		return nil, whole
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, whole
	}
	return msgs, nil
}

// lenient reads what strict readers refuse, to find where it ends.
func lenient(b []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(b), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// isDelivery reports whether a message that can't be parsed is, for certain, no
// reply: somebody waits for those.
func isDelivery(raw []byte) bool {
	dec := lenient(raw)
	channel := ""
	_, err := dec.ReadToken()
	for err == nil && dec.PeekKind() == '"' {
		var name string
		if name, err = readString(dec); err != nil {
			break
		}
		switch name {
		case "successful":
			return false
		case "channel":
			if channel != "" {
				return false
			}
			channel, err = readString(dec)
		default:
			err = dec.SkipValue()
		}
	}
	return channel != "" && !isMeta(channel) && dec.PeekKind() == '}'
}

// unreadable reports whether err is of a reply that would be the same another time.
func unreadable(err error) bool {
	for _, e := range []error{errReplyTooLarge, closeError(closeTooLarge), errSyntax, errShape, errTooDeep, errTooMany, errCaseSlip} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
