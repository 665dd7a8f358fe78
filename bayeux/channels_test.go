package bayeux_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sealedblob/sealedblob/bayeux"
)

// channelsOf drains what waits for p by a lone connect that is not held.
func channelsOf(p *peer) []string {
	p.t.Helper()
	var got []string
	for _, m := range p.send(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0}}]`) {
		if m.Channel != bayeux.MetaConnect {
			got = append(got, m.Channel)
		}
	}
	return got
}

func TestPublishReachesSubscribersOnce(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	p := r.peer().ready()
	wantOK(t, p.subscribe("/a/b", "/a/*", "/a/**", "/**", "/a/b"))
	wantOK(t, p.subscribe("/a/b"))
	q := r.peer().ready()
	wantOK(t, q.subscribe("/a/*"))
	for _, ch := range []string{"/a/b", "/a/b/c", "/a", "/x"} {
		if err := r.server.Publish(ch, 1); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := channelsOf(p), []string{"/a/b", "/a/b/c", "/a", "/x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := channelsOf(q), []string{"/a/b"}; !slices.Equal(got, want) {
		t.Errorf("one-level wildcard got %q, want %q", got, want)
	}
	wantOK(t, p.one(`{"channel":"/meta/unsubscribe","clientId":"$ID","subscription":["/**","/a/**"]}`))
	r.server.Publish("/a/b", 1)
	r.server.Publish("/a/b/c", 1)
	if got, want := channelsOf(p), []string{"/a/b"}; !slices.Equal(got, want) {
		t.Errorf("after unsubscribe got %q, want %q", got, want)
	}
}

func TestClientPublish(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	p, q := r.peer().ready(), r.peer().ready()
	p.subscribe("/a")
	q.subscribe("/a")
	msgs := p.send(`{"channel":"/a","clientId":"$ID","id":"9","data":{"x":1},"ext":{"secret":1}}`)
	if len(msgs) != 1 {
		t.Fatalf("got %d messages, want the reply alone", len(msgs))
	}
	wantOK(t, msgs[0])
	for _, x := range []*peer{p, q} { // the publisher gets a copy too
		m := x.send(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0}}]`)[0]
		b, _ := m.MarshalJSON()
		if got, want := string(b), `{"channel":"/a","data":{"x":1}}`; got != want {
			t.Errorf("delivery %s, want %s", got, want)
		}
	}
}

func TestRefusedMessages(t *testing.T) {
	long := strings.Repeat("/a", 129)
	tests := []struct{ name, msg, err string }{
		{"no channel", `{"clientId":"$ID","data":1}`, "400::channel_missing"},
		{"bad channel", `{"channel":"a","clientId":"$ID","data":1}`, "405::channel_invalid"},
		{"long channel", `{"channel":"` + long + `","clientId":"$ID","data":1}`, "405::channel_invalid"},
		{"wildcard publish", `{"channel":"/a/*","clientId":"$ID","data":1}`, "405::channel_invalid"},
		{"wildcard service", `{"channel":"/service/**","clientId":"$ID","data":1}`, "405::channel_invalid"},
		{"no data", `{"channel":"/a","clientId":"$ID"}`, "400::data_missing"},
		{"meta publish", `{"channel":"/meta/x","clientId":"$ID","data":1}`, "403:denied_by_security_policy:create_denied"},
		{"meta below subscribe", `{"channel":"/meta/subscribe/x","clientId":"$ID","subscription":"/a"}`, "403:denied_by_security_policy:create_denied"},
		{"bare meta", `{"channel":"/meta","clientId":"$ID","data":1}`, "403:denied_by_security_policy:create_denied"},
		{"service without a handler", `{"channel":"/service/sealed","clientId":"$ID","data":1}`, "403:denied_by_security_policy:publish_denied"},
		{"no subscription", `{"channel":"/meta/subscribe","clientId":"$ID"}`, "403::subscription_missing"},
		{"empty subscription", `{"channel":"/meta/subscribe","clientId":"$ID","subscription":[]}`, "403::subscription_missing"},
		{"bad subscription", `{"channel":"/meta/subscribe","clientId":"$ID","subscription":["/a","/*/b"]}`, "403::subscription_invalid"},
		{"meta subscription", `{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/meta/connect"}`, "403:denied_by_security_policy:subscribe_denied"},
		{"meta wildcard", `{"channel":"/meta/subscribe","clientId":"$ID","subscription":["/a","/meta/**"]}`, "403:denied_by_security_policy:subscribe_denied"},
		{"bad unsubscription", `{"channel":"/meta/unsubscribe","clientId":"$ID","subscription":""}`, "403::subscription_invalid"},
		{"no unsubscription", `{"channel":"/meta/unsubscribe","clientId":"$ID"}`, "403::subscription_missing"},
	}
	r := newRig(t, bayeux.Config{})
	p := r.peer().ready()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := p.one(tt.msg)
			wantError(t, m, tt.err)
			if m.Advice != nil {
				t.Errorf("advice %+v on a refusal that is not about the session", m.Advice)
			}
		})
	}
	r.server.Publish("/a", 1)
	if got := channelsOf(p); len(got) != 0 {
		t.Errorf("a refused subscription delivers %q", got)
	}
	if err := r.server.Session(p.id).Deliver("/b", 1); err != nil {
		t.Errorf("session is gone: %v", err)
	}
}

func TestServiceMessagesStayPrivate(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	var got []string
	r.server.HandleService("/service/echo", func(ctx context.Context, from *bayeux.ServerSession, m *bayeux.Message) {
		got = append(got, string(m.Data))
		if bayeux.HTTPRequest(ctx) == nil {
			t.Error("no request in the context")
		}
		from.Deliver("/service/echo", m.Data)
	})
	r.server.HandleService("/service/panic", func(context.Context, *bayeux.ServerSession, *bayeux.Message) { panic("x") })
	spy := r.peer().ready()
	wantOK(t, spy.subscribe("/**", "/*", "/service/**", "/service/*", "/service/echo"))
	p := r.peer().ready()
	wantOK(t, p.one(`{"channel":"/service/echo","clientId":"$ID","data":{"x":1},"id":"1"}`))
	if answer := channelsOf(p); !slices.Equal(answer, []string{"/service/echo"}) || !slices.Equal(got, []string{`{"x":1}`}) {
		t.Errorf("handler saw %q, %q came back", got, answer)
	}
	if got := channelsOf(spy); len(got) != 0 {
		t.Errorf("subscribers to wildcards saw %q", got)
	}
	if err := r.server.Publish("/service/echo", 1); !errors.Is(err, bayeux.ErrChannel) {
		t.Errorf("Publish to a service channel = %v", err)
	}
	wantError(t, p.one(`{"channel":"/service/panic","clientId":"$ID","data":1}`), "500::handler_failed")
	wantOK(t, p.subscribe("/still-alive"))
}

func TestHandleServicePanicsOnMisuse(t *testing.T) {
	s, _ := bayeux.NewServer(bayeux.Config{})
	f := func(context.Context, *bayeux.ServerSession, *bayeux.Message) {}
	s.HandleService("/service/a", f)
	for _, ch := range []string{"/a", "/service", "/service/*", "/service//x", "/service/a"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("HandleService(%q) did not panic", ch)
				}
			}()
			s.HandleService(ch, f)
		}()
	}
}

func TestPublishAndDeliverCheckTheirArguments(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	sess := r.server.Session(r.peer().ready().id)
	for _, ch := range []string{"", "a", "/a/*", "/meta/connect", "/meta/x", "/" + strings.Repeat("a", 256)} {
		if err := r.server.Publish(ch, 1); !errors.Is(err, bayeux.ErrChannel) {
			t.Errorf("Publish(%q) = %v", ch, err)
		}
		if err := sess.Deliver(ch, 1); !errors.Is(err, bayeux.ErrChannel) {
			t.Errorf("Deliver(%q) = %v", ch, err)
		}
	}
	for _, bad := range []any{json.RawMessage(`{"a":`), jsontext.Value(`1 2`), jsontext.Value(nil), make(chan int)} {
		if err := r.server.Publish("/a", bad); err == nil {
			t.Errorf("Publish of %v = nil", bad)
		}
		if err := sess.Deliver("/a", bad); err == nil {
			t.Errorf("Deliver of %v = nil", bad)
		}
	}
	for _, good := range []any{json.RawMessage(`{"a":1}`), jsontext.Value(` 1`), nil, map[string]int{"a": 1}} {
		if err := sess.Deliver("/a", good); err != nil {
			t.Errorf("Deliver of %v = %v", good, err)
		}
	}
}

type testPolicy struct {
	bayeux.DefaultPolicy
	asked []string
}

func (p *testPolicy) CanHandshake(_ context.Context, r *http.Request, m *bayeux.Message) bool {
	return r.Header.Get("X-Denied") == ""
}

func (p *testPolicy) CanCreate(_ context.Context, _ *bayeux.ServerSession, ch string, _ *bayeux.Message) bool {
	p.asked = append(p.asked, "create "+ch)
	return !strings.HasPrefix(ch, "/no-create")
}

func (p *testPolicy) CanSubscribe(_ context.Context, _ *bayeux.ServerSession, ch string, _ *bayeux.Message) bool {
	if ch == "/panic" {
		panic("policy")
	}
	return !strings.HasPrefix(ch, "/no-subscribe")
}

func (p *testPolicy) CanPublish(_ context.Context, _ *bayeux.ServerSession, ch string, _ *bayeux.Message) bool {
	return !strings.HasPrefix(ch, "/no-publish") && !strings.HasPrefix(ch, "/service")
}

func TestSecurityPolicy(t *testing.T) {
	policy := new(testPolicy)
	r := newRig(t, bayeux.Config{Policy: policy})
	r.server.HandleService("/service/x", func(context.Context, *bayeux.ServerSession, *bayeux.Message) { t.Error("handler called") })
	_, _, msgs, err := r.peer().do(t.Context(), request{body: handshakeMessage, header: http.Header{"X-Denied": {"1"}}})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, msgs[0], "403::handshake_denied")
	if msgs[0].Advice.Reconnect != bayeux.ReconnectNone || msgs[0].ClientID != "" {
		t.Errorf("refusal %+v", msgs[0])
	}
	p := r.peer().ready()
	publish := func(ch string) *bayeux.Message { return p.one(`{"channel":"` + ch + `","clientId":"$ID","data":1}`) }
	wantOK(t, p.subscribe("/ok"))
	wantError(t, p.subscribe("/ok", "/no-create"), "403:denied_by_security_policy:create_denied")
	wantError(t, p.subscribe("/ok2", "/no-subscribe"), "403:denied_by_security_policy:subscribe_denied")
	wantError(t, p.subscribe("/panic"), "403:denied_by_security_policy:subscribe_denied")
	wantError(t, p.subscribe("/meta/connect"), "403:denied_by_security_policy:subscribe_denied")
	wantError(t, publish("/no-create"), "403:denied_by_security_policy:create_denied")
	wantError(t, publish("/no-publish"), "403:denied_by_security_policy:publish_denied")
	wantError(t, publish("/service/x"), "403:denied_by_security_policy:publish_denied")
	policy.asked = nil
	wantOK(t, publish("/ok"))
	if len(policy.asked) != 0 {
		t.Errorf("asked %q for a channel that exists", policy.asked)
	}
}
