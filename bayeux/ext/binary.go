package ext

import (
	"context"
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sealedblob/sealedblob/bayeux"
)

const binaryName = "binary"

// BinaryData is what a message with bytes carries.
type BinaryData struct {
	Data []byte
	// Last says that no further part follows.
	Last bool
	// Meta is whatever the sender adds, one JSON value; nil for nothing.
	Meta jsontext.Value
}

// binaryWire is the data of such a message.
type binaryWire struct {
	Data *string        `json:"data"`
	Last bool           `json:"last"`
	Meta jsontext.Value `json:"meta,omitzero"`
}

// NewBinary makes a message for bayeux.Server.PublishMessage,
// bayeux.ServerSession.DeliverMessage and bayeux.Client.PublishMessage. It returns an error if d.Meta is not JSON.
func NewBinary(channel string, d BinaryData) (*bayeux.Message, error) {
	text := EncodeZ85(d.Data)
	raw, err := json.Marshal(binaryWire{Data: &text, Last: d.Last, Meta: d.Meta})
	if err != nil {
		return nil, errors.New("ext: meta is not JSON")
	}
	m := &bayeux.Message{Channel: channel, Data: raw}
	return m, m.SetExt(binaryName, struct{}{})
}

// ReadBinary reads the bytes of m. binary is false, and nothing else set, if m
// says that it has none. It returns an error if they are not as [NewBinary] and
// CometD's clients write them.
func ReadBinary(m *bayeux.Message) (d BinaryData, binary bool, err error) {
	if _, binary = m.Ext[binaryName]; !binary {
		return BinaryData{}, false, nil
	}
	var w binaryWire
	if m.DecodeDataStrict(&w) != nil || w.Data == nil {
		return BinaryData{}, true, errors.New("ext: not the data of a binary message")
	}
	b, err := DecodeZ85(*w.Data)
	if err != nil {
		return BinaryData{}, true, err
	}
	return BinaryData{Data: b, Last: w.Last, Meta: w.Meta}, true, nil
}

// Binary lets clients exchange bytes, as text in Z85. It passes their mark on to
// the receivers, who would not know otherwise, and stops what is not well formed.
// Read messages with [ReadBinary] and make them with [NewBinary].
type Binary struct{}

// Incoming implements bayeux.Extension.
func (Binary) Incoming(_ context.Context, _ *bayeux.ServerSession, m *bayeux.Message) bool {
	if m.IsMeta() {
		return true
	}
	_, _, err := ReadBinary(m)
	return err == nil
}

// Outgoing implements bayeux.Extension.
func (Binary) Outgoing(to *bayeux.ServerSession, m *bayeux.Message) bool {
	if asked := m.Request(); to == nil && asked != nil {
		if _, ok := asked.Ext[binaryName]; ok {
			return m.SetExt(binaryName, struct{}{}) == nil
		}
	}
	return true
}
