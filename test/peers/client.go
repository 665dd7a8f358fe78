package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/ext"
)

// ourClient is what our client does with any server.
func ourClient(ctx context.Context, control, serverURL, transport string, besides []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	v := &visitor{ctx: ctx, cancel: cancel, control: control, got: make(map[string][]string)}
	shows := map[string]func(){"service": v.service, "timestamp": v.timestamp, "timesync": v.timesync, "ack": v.acknowledged, "binary": v.binary,
		"activity": func() { v.idle(serverURL, transports(transport)) }}
	c, err := bayeux.NewClient(serverURL, bayeux.ClientConfig{
		Transports:  transports(transport),
		Extensions:  []bayeux.ClientExtension{watch{v}, ext.ClientTimestamp{}, &v.clock},
		Acknowledge: true,
		Backoff:     100 * time.Millisecond,
		MaxBackoff:  time.Second,
		Logger:      slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		return err
	}
	v.client = c
	v.handshake()
	v.messages()
	v.batch()
	v.refusals()
	v.unsubscribe()
	for _, name := range besides {
		show, ok := shows[name]
		if !ok {
			return errUsage
		}
		show()
		v.step(name)
	}
	v.fails("forget")
	v.fails("restart")
	v.check(c.Close(ctx))
	v.sessions("0")
	v.step("disconnect")
	return v.err
}

// transports are what the client is to use; nil leaves it the choice.
func transports(name string) []string {
	if name == anyTransport {
		return nil
	}
	return []string{name}
}

// visitor is one client with what came to it. After a first error its methods do
// nothing, and its context has ended.
type visitor struct {
	ctx     context.Context
	cancel  context.CancelFunc
	err     error
	client  *bayeux.Client
	control string
	clock   ext.ClientTimeSync

	mu      sync.Mutex
	stamp   string              // of the last message that had one
	got     map[string][]string // data by channel
	refused []*bayeux.Message   // connects
}

func (v *visitor) check(err error) {
	if v.err == nil && err != nil {
		v.err = err
		v.cancel()
	}
}

// watch sees the refusals that the client deals with by itself.
type watch struct{ v *visitor }

func (w watch) Incoming(m *bayeux.Message) bool {
	w.v.mu.Lock()
	defer w.v.mu.Unlock()
	if m.Timestamp != "" {
		w.v.stamp = m.Timestamp
	}
	if m.Channel == bayeux.MetaConnect && m.Successful != nil && !*m.Successful {
		w.v.refused = append(w.v.refused, m)
	}
	return true
}

func (watch) Outgoing(*bayeux.Message) bool { return true }

func (v *visitor) take(m *bayeux.Message) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.got[m.Channel] = append(v.got[m.Channel], string(m.Data))
}

func (v *visitor) handshake() {
	v.check(v.client.Connect(v.ctx))
	if v.client.ID() == "" {
		v.check(errors.New("no clientId"))
	}
	v.step("handshake")
}

func (v *visitor) subscribe(channel string) {
	v.check(v.client.Subscribe(v.ctx, channel, v.take))
}

func (v *visitor) messages() {
	const text = `{"list":[null,1.5,{}],"n":1,"text":"zażółć ✓"}`
	v.subscribe("/peers/room")
	v.subscribe("/peers/down")
	v.publish("/peers/room", text)
	v.expect("/peers/room", text)
	v.step("receive")

	v.check(v.client.Publish(v.ctx, "/peers/up", "up"))
	v.expect("/peers/down", `"up"`)
	v.step("publish")

	v.subscribe("/peers/wild/*")
	v.subscribe("/peers/deep/**")
	v.publish("/peers/wild/a/b", "0")
	v.publish("/peers/wild/a", "1")
	v.publish("/peers/deep/a/b", "2")
	v.expect("/peers/deep/a/b", "2")
	v.expect("/peers/wild/a", "1")
	v.expect("/peers/wild/a/b")
	v.step("wildcard")
}

func (v *visitor) batch() {
	v.check(v.client.Batch(v.ctx, func(b *bayeux.Batch) {
		b.Subscribe("/peers/batch", v.take)
		for i := range 5 {
			b.Publish("/peers/batch", i)
		}
	}))
	v.expect("/peers/batch", "0", "1", "2", "3", "4")
	v.step("batch")
}

func (v *visitor) refusals() {
	for _, err := range []error{v.client.Subscribe(v.ctx, "/denied/a", v.take), v.client.Publish(v.ctx, "/denied/a", 1)} {
		if no, ok := errors.AsType[*bayeux.Error](err); !ok || no.Code() != 403 {
			v.check(fmt.Errorf("what nobody may do: %v", err))
		}
	}
	v.step("refused")
}

func (v *visitor) unsubscribe() {
	v.check(v.client.Unsubscribe(v.ctx, "/peers/room"))
	v.publish("/peers/room", `"too late"`)
	v.publish("/peers/down", `"marker"`)
	v.expect("/peers/down", `"marker"`)
	v.expect("/peers/room")
	v.step("unsubscribe")
}

func (v *visitor) service() {
	v.subscribe("/service/echo")
	v.check(v.client.Publish(v.ctx, "/service/echo", []int{1}))
	v.expect("/service/echo", "[1]")
}

// timestamp: Bayeux writes UTC without saying so.
func (v *visitor) timestamp() {
	v.mu.Lock()
	stamp := v.stamp
	v.mu.Unlock()
	at, err := time.Parse("2006-01-02T15:04:05", stamp)
	if err != nil || time.Since(at).Abs() > time.Minute {
		v.check(fmt.Errorf("timestamp %q, %w", stamp, err))
	}
}

// timesync: one clock, so that what is left is the time on the way.
func (v *visitor) timesync() {
	if offset, known := v.clock.Offset(); !known || offset.Abs() > 500*time.Millisecond {
		v.check(fmt.Errorf("clock is off by %v, known %v", offset, known))
	}
}

// binary: bytes of every value there, and back in reverse.
func (v *visitor) binary() {
	bytes := make([]byte, 259) // a length that Z85 must pad
	for i := range bytes {
		bytes[i] = byte(i)
	}
	back := make(chan ext.BinaryData, 1)
	v.check(v.client.Subscribe(v.ctx, "/peers/binary/down", func(m *bayeux.Message) {
		d, binary, err := ext.ReadBinary(m)
		if err != nil || !binary {
			v.check(fmt.Errorf("binary %v, %w", binary, err))
		}
		back <- d
	}))
	m, err := ext.NewBinary("/peers/binary/up", ext.BinaryData{Data: bytes, Last: true, Meta: []byte(`{"name":"bytes"}`)})
	v.check(err)
	v.check(v.client.PublishMessage(v.ctx, m))
	select {
	case d := <-back:
		slices.Reverse(bytes)
		if !slices.Equal(d.Data, bytes) || !d.Last || !sameJSON(string(d.Meta), `{"name":"bytes"}`) {
			v.check(fmt.Errorf("bytes came back as %x, last %v, meta %s", d.Data, d.Last, d.Meta))
		}
	case <-v.ctx.Done():
		v.check(v.ctx.Err())
	}
}

// idle: another client says nothing, and is told to go.
func (v *visitor) idle(serverURL string, transports []string) {
	c, err := bayeux.NewClient(serverURL, bayeux.ClientConfig{Transports: transports, Extensions: []bayeux.ClientExtension{silent{}}})
	if err != nil {
		v.check(err)
		return
	}
	v.check(c.Connect(v.ctx))
	v.until("the end of an idle client", func() bool { return c.State() == bayeux.StateClosed })
	if err := c.Publish(v.ctx, "/peers/up", 1); !errors.Is(err, bayeux.ErrClosed) {
		v.check(fmt.Errorf("an idle client's publication: %v", err))
	}
}

// silent asks the server to look after its activity.
type silent struct{}

func (silent) Incoming(*bayeux.Message) bool { return true }

func (silent) Outgoing(m *bayeux.Message) bool {
	return m.Channel != bayeux.MetaHandshake || m.SetExt("idle", true) == nil
}

// acknowledged: an answer is lost on the way, and comes again in the same session.
func (v *visitor) acknowledged() {
	before := v.client.ID()
	v.ask("/lose?channel=/peers/down", `"lost once"`)
	v.publish("/peers/down", `"after it"`)
	v.expect("/peers/down", `"lost once"`, `"after it"`)
	if v.client.ID() != before {
		v.check(errors.New("another session"))
	}
}

// fails has the server forget, or die and come back. The subscription is the
// client's to renew.
func (v *visitor) fails(how string) {
	before := v.client.ID()
	v.mu.Lock()
	v.refused = nil
	v.mu.Unlock()
	v.ask("/"+how, "")
	v.until("another session", func() bool { return v.client.ID() != before && v.client.State() == bayeux.StateConnected })
	v.check(v.wantUnknown())
	v.check(v.client.Publish(v.ctx, "/peers/up", how))
	v.expect("/peers/down", `"`+how+`"`)
	v.sessions("1")
	v.step(how)
}

// wantUnknown: the server was asked, and knew nothing of the session.
func (v *visitor) wantUnknown() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range v.refused {
		if m.Advice != nil && m.Advice.Reconnect == bayeux.ReconnectHandshake && (strings.HasPrefix(m.Error, "402:") || strings.HasPrefix(m.Error, "401:")) {
			return nil
		}
	}
	return fmt.Errorf("%d refused connects, none as unknown", len(v.refused))
}

// expect waits until exactly want came on channel, and takes it.
func (v *visitor) expect(channel string, want ...string) {
	v.until(channel, func() bool { v.mu.Lock(); defer v.mu.Unlock(); return len(v.got[channel]) >= len(want) })
	v.mu.Lock()
	defer v.mu.Unlock()
	if got := v.got[channel]; !slices.EqualFunc(got, want, sameJSON) {
		v.check(fmt.Errorf("%s: %q, want %q", channel, got, want))
	}
	v.got[channel] = nil
}

// sameJSON leaves the order of members and the escapes to the server.
func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

func (v *visitor) until(what string, check func() bool) {
	for end := time.Now().Add(patience); !check(); time.Sleep(10 * time.Millisecond) {
		if v.ctx.Err() != nil || time.Now().After(end) {
			v.check(errors.New("waited too long for " + what))
			return
		}
	}
}

func (v *visitor) step(name string) { v.ask("/step/"+name, "") }

func (v *visitor) publish(channel, data string) {
	v.ask("/publish?channel="+url.QueryEscape(channel), data)
}

func (v *visitor) sessions(want string) {
	v.until(want+" sessions on the server", func() bool { return v.ask("/sessions", "") == want })
}

// ask has the host do something.
func (v *visitor) ask(path, body string) string {
	if v.err != nil {
		return ""
	}
	answer, err := post(v.ctx, v.control+path, body)
	v.check(err)
	return answer
}

func post(ctx context.Context, to, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", to, answer)
	}
	return string(answer), err
}
