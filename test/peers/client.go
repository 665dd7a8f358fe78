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
)

// ourClient is what our client does with any server.
func ourClient(ctx context.Context, control, serverURL, transport string, besides []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	v := &visitor{ctx: ctx, cancel: cancel, control: control, got: make(map[string][]string)}
	transports := []string{transport}
	if transport == anyTransport {
		transports = nil
	}
	c, err := bayeux.NewClient(serverURL, bayeux.ClientConfig{
		Transports:  transports,
		Extensions:  []bayeux.ClientExtension{watch{v}},
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
	if slices.Contains(besides, "service") {
		v.service()
	}
	if slices.Contains(besides, "ack") {
		v.acknowledged()
	}
	v.fails("forget")
	v.fails("restart")
	v.check(c.Close(ctx))
	v.sessions("0")
	v.step("disconnect")
	return v.err
}

// visitor is one client with what came to it. After a first error its methods do
// nothing, and its context has ended.
type visitor struct {
	ctx     context.Context
	cancel  context.CancelFunc
	err     error
	client  *bayeux.Client
	control string

	mu      sync.Mutex
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
	v.step("service")
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
	v.step("ack")
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
