package bayeux_test

import (
	"context"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/bayeux"
)

func fixed(v bayeux.Verdict) bayeux.Authorizer {
	return bayeux.AuthorizerFunc(func(context.Context, bayeux.Operation, string, *bayeux.ServerSession, *bayeux.Message) bayeux.Verdict {
		return v
	})
}

func TestAuthorizers(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	s := r.server
	s.Authorize("/granted", fixed(bayeux.Grant))
	s.Authorize("/ignored/*", fixed(bayeux.Ignore))
	s.Authorize("/denied/**", fixed(bayeux.Deny))
	s.Authorize("/mixed/*", fixed(bayeux.Ignore))
	s.Authorize("/mixed/a", fixed(bayeux.Grant))
	s.Authorize("/veto/*", fixed(bayeux.Grant))
	s.Authorize("/veto/a", fixed(bayeux.Deny))
	s.Authorize("/odd", fixed(7))
	s.Authorize("/panic", bayeux.AuthorizerFunc(func(context.Context, bayeux.Operation, string, *bayeux.ServerSession, *bayeux.Message) bayeux.Verdict {
		panic("authorizer")
	}))
	tests := []struct {
		channel string
		ok      bool
	}{
		{"/free", true}, {"/free/a", true}, {"/free/**", true},
		{"/granted", true}, {"/granted/a", true},
		{"/ignored", true}, {"/ignored/a", false}, {"/ignored/a/b", true},
		{"/denied", true}, {"/denied/a", false}, {"/denied/a/b", false},
		{"/mixed/a", true}, {"/mixed/b", false},
		{"/veto/a", false}, {"/veto/b", true},
		{"/odd", false}, {"/panic", false},
		// A wildcard reaches no further than its parts may be reached.
		{"/**", false}, {"/*", false}, {"/denied/*", false}, {"/denied/a/**", false}, {"/veto/*", false}, {"/mixed/**", true},
	}
	p := r.peer().ready()
	for _, tt := range tests {
		m := p.subscribe(tt.channel)
		if *m.Successful != tt.ok || !tt.ok && !strings.HasSuffix(m.Error, "_denied") {
			t.Errorf("subscribe to %s: %v %s, want %v", tt.channel, *m.Successful, m.Error, tt.ok)
		}
		if strings.HasSuffix(tt.channel, "*") {
			continue
		}
		m = p.one(`{"channel":"` + tt.channel + `","clientId":"$ID","data":1}`)
		if *m.Successful != tt.ok {
			t.Errorf("publish on %s: %v %s, want %v", tt.channel, *m.Successful, m.Error, tt.ok)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Authorize took a channel without a slash")
		}
	}()
	s.Authorize("x", fixed(bayeux.Grant))
}

func TestAuthorizersAreAskedForEachOperation(t *testing.T) {
	tests := []struct {
		denied bayeux.Operation
		create, subscribe,
		publish bool
	}{
		{bayeux.OperationCreate, false, true, true},
		{bayeux.OperationSubscribe, false, false, true},
		{bayeux.OperationPublish, true, true, false},
	}
	for _, tt := range tests {
		r := newRig(t, bayeux.Config{})
		p, other := r.peer().ready(), r.peer().ready()
		wantOK(t, other.subscribe("/old"))
		r.server.Authorize("/**", bayeux.AuthorizerFunc(
			func(ctx context.Context, op bayeux.Operation, ch string, from *bayeux.ServerSession, m *bayeux.Message) bayeux.Verdict {
				if bayeux.HTTPRequest(ctx) == nil || from == nil || m == nil || ch == "" {
					t.Error("an argument is missing")
				}
				if op == tt.denied {
					return bayeux.Deny
				}
				return bayeux.Grant
			}))
		if m := p.subscribe("/new"); *m.Successful != tt.create {
			t.Errorf("without %v: create %v %s, want %v", tt.denied, *m.Successful, m.Error, tt.create)
		}
		if m := p.subscribe("/old"); *m.Successful != tt.subscribe {
			t.Errorf("without %v: subscribe %v, want %v", tt.denied, *m.Successful, tt.subscribe)
		}
		if m := p.one(`{"channel":"/old","clientId":"$ID","data":1}`); *m.Successful != tt.publish {
			t.Errorf("without %v: publish %v, want %v", tt.denied, *m.Successful, tt.publish)
		}
	}
}

// Authorizers only narrow what the policy allows.
func TestAuthorizersDoNotOverruleThePolicy(t *testing.T) {
	r := newRig(t, bayeux.Config{Policy: closedPolicy{}})
	r.server.Authorize("/**", fixed(bayeux.Grant))
	p := r.peer().ready()
	wantError(t, p.subscribe("/a"), "403:denied_by_security_policy:subscribe_denied")
	wantError(t, p.one(`{"channel":"/a","clientId":"$ID","data":1}`), "403:denied_by_security_policy:publish_denied")
}

type closedPolicy struct{ bayeux.DefaultPolicy }

func (closedPolicy) CanSubscribe(context.Context, *bayeux.ServerSession, string, *bayeux.Message) bool {
	return false
}

func (closedPolicy) CanPublish(context.Context, *bayeux.ServerSession, string, *bayeux.Message) bool {
	return false
}
