package bayeux

import "strconv"

// acknowledged is the client's side of CometD's acknowledge extension. It is not
// a [ClientExtension], since a reply counts only once all that came with it was
// taken.
type acknowledged struct {
	on    bool
	batch int64 // number of the last connect reply
}

// startAck begins with what the server says about it in a handshake's reply:
// true, or an object with the number to begin with.
func (c *Client) startAck(reply *Message) {
	var offer struct {
		Enabled bool  `json:"enabled"`
		Batch   int64 `json:"batch"`
	}
	raw := reply.Ext[extAck]
	offer.Enabled = string(raw) == "true"
	if !offer.Enabled && strictDecode(raw, &offer) != nil {
		offer.Enabled = false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ack = acknowledged{on: c.cfg.Acknowledge && offer.Enabled, batch: offer.Batch}
}

// acknowledges reports whether the session has the extension.
func (c *Client) acknowledges() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ack.on
}

// tellAck puts into a connect what was taken so far.
func (c *Client) tellAck(connect *Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ack.on {
		_ = connect.SetExt(extAck, c.ack.batch) // a number: it cannot fail
	}
}

// noteAck notes the number of a connect reply; the next connect says it.
func (c *Client) noteAck(reply *Message) {
	n, err := strconv.ParseInt(string(reply.Ext[extAck]), 10, 64)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ack.batch = n
}
