package bayeux_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

func TestOverTLS(t *testing.T) {
	for name, list := range transports {
		for _, h2 := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " HTTP/2"}[h2], func(t *testing.T) {
				s := newServer(t, bayeux.Config{})
				protos := make(chan string, 100)
				srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					protos <- r.Proto
					s.ServeHTTP(w, r)
				}))
				srv.EnableHTTP2 = h2
				srv.StartTLS()
				defer srv.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				cfg := bayeux.ClientConfig{HTTPClient: srv.Client(), Transports: list, Logger: silent}
				c, err := bayeux.NewClient(srv.URL+"/bayeux", cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close(context.Background())
				if err := c.Connect(ctx); err != nil {
					t.Fatal(err)
				}
				got := make(inbox, 1)
				if err := c.Subscribe(ctx, "/a", got.take); err != nil {
					t.Fatal(err)
				}
				s.Publish("/a", 1)
				got.want(t, "/a 1")
				if p := <-protos; (p == "HTTP/2.0") != (h2 && list[0] == bayeux.LongPolling) {
					t.Errorf("spoke %s", p)
				}

				// Certificates are checked, over a WebSocket too.
				cfg.HTTPClient = nil
				bad, err := bayeux.NewClient(srv.URL, cfg)
				if err != nil {
					t.Fatal(err)
				}
				if err := bad.Connect(ctx); err == nil {
					t.Error("connected to a server with an unknown certificate")
				}
			})
		}
	}
}

func TestSecureCookieOverTLS(t *testing.T) {
	srv := httptest.NewTLSServer(newServer(t, bayeux.Config{}))
	defer srv.Close()
	p := &peer{t: t, http: srv.Client(), url: srv.URL}
	_, h, _, err := p.do(t.Context(), request{body: handshakeMessage})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := http.ParseSetCookie(h.Get("Set-Cookie")); err != nil || !c.Secure {
		t.Errorf("Set-Cookie: %s", h.Get("Set-Cookie"))
	}
	// A plain page of the same host is another origin to a TLS server.
	status, _, _, err := p.do(t.Context(), request{body: "[]", header: http.Header{"Origin": {"http" + srv.URL[len("https"):]}}})
	if err != nil || status != 403 {
		t.Errorf("status %d, %v, want 403", status, err)
	}
}
