package bayeux_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

func TestConfigIsChecked(t *testing.T) {
	tests := map[string]bayeux.Config{
		"negative timeout": {Timeout: -1},
		"negative limit":   {MaxQueue: -1},
		"for ever":         {Timeout: math.MaxInt64},
		"without a limit":  {MaxBody: math.MaxInt},
		"origin with path": {AllowedOrigins: []string{"https://example.com/x"}},
		"wildcard origin":  {AllowedOrigins: []string{"*"}},
		"too deep":         {MaxDepth: 65},
		"no queue for it":  {MaxPublication: 1000, MaxQueueBytes: 999},
	}
	for name, cfg := range tests {
		if s, err := bayeux.NewServer(cfg); err == nil || s != nil {
			t.Errorf("%s: NewServer = %v, %v", name, s, err)
		}
	}
}

func TestRequestLimits(t *testing.T) {
	const body = 4096
	r := newRig(t, bayeux.Config{MaxBody: body, MaxBatch: 5, MaxDepth: 6})
	pad := func(n int) string { return "[]" + strings.Repeat(" ", n-2) }
	nested := func(n int) string {
		return `[{"channel":"/meta/x","data":` + strings.Repeat(`{"a":`, n-2) + "1" + strings.Repeat("}", n-2) + `}]`
	}
	batch := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("{},", n), ",") + "]" }
	form := func(n int) string { return strings.TrimSuffix(strings.Repeat("message={}&", n), "&") }
	tests := []struct {
		name, body, contentType string
		status                  int
	}{
		{"body at the limit", pad(body), "", 200},
		{"body over the limit", pad(body + 1), "", 413},
		{"batch at the limit", batch(5), "", 200},
		{"batch over the limit", batch(6), "", 413},
		{"form at the limit", form(5), "application/x-www-form-urlencoded", 200},
		{"form over the limit", form(6), "application/x-www-form-urlencoded", 413},
		{"depth at the limit", nested(6), "", 200},
		{"depth over the limit", nested(7), "", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, _, _, err := r.peer().do(t.Context(), request{body: tt.body, contentType: tt.contentType})
			if err != nil || status != tt.status {
				t.Errorf("status %d, %v, want %d", status, err, tt.status)
			}
		})
	}
	t.Run("body of unknown length", func(t *testing.T) {
		p := r.peer()
		req, _ := http.NewRequest("POST", p.url, struct{ *bytes.Reader }{bytes.NewReader([]byte(pad(body + 1)))})
		req.Header.Set("Content-Type", "application/json")
		resp, err := p.http.Do(req)
		if err != nil || resp.StatusCode != 413 {
			t.Fatalf("%v, %v", resp, err)
		}
		resp.Body.Close()
	})
	t.Run("encoded body", func(t *testing.T) {
		status, _, _, err := r.peer().do(t.Context(), request{body: "[]", header: http.Header{"Content-Encoding": {"gzip"}}})
		if err != nil || status != 415 {
			t.Errorf("status %d, %v", status, err)
		}
	})
}

func TestDefaultBodyHoldsAHandshakeOf256KiB(t *testing.T) {
	p := newRig(t, bayeux.Config{}).peer()
	wantOK(t, p.one(`[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"sealed":"`+strings.Repeat("x", 256<<10)+`"}}]`))
}

func TestSubscriptionLimit(t *testing.T) {
	r := newRig(t, bayeux.Config{MaxSubscriptions: 3})
	p := r.peer().ready()
	wantOK(t, p.subscribe("/1", "/2"))
	wantError(t, p.subscribe("/3", "/4"), "403::subscribe_failed")
	wantOK(t, p.subscribe("/3", "/2"))
	wantError(t, p.subscribe("/4"), "403::subscribe_failed")
	wantError(t, p.subscribe("/1", "/1", "/1", "/1"), "403::subscribe_failed")
	wantOK(t, p.subscribe("/1"))
	wantOK(t, p.one(`{"channel":"/meta/unsubscribe","clientId":"$ID","subscription":"/1"}`))
	wantOK(t, p.subscribe("/4"))
}

func TestSessionLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{MaxSessions: 3, MaxSessionsPerBrowser: 2})
		a, b := r.peer(), r.peer()
		a.handshake()
		a.handshake()
		wantError(t, a.one(handshakeMessage), "503::too_many_sessions")
		b.handshake()
		m := b.one(handshakeMessage)
		wantError(t, m, "503::too_many_sessions")
		if m.Advice.Reconnect != bayeux.ReconnectHandshake || *m.Advice.Interval <= 0 {
			t.Errorf("advice %+v, want to come back later", m.Advice)
		}
		time.Sleep(11 * time.Second) // they lapse
		a.handshake()
		b.handshake()
		b.handshake()
	})
}

func TestQueueOverflow(t *testing.T) {
	tests := []struct {
		name string
		cfg  bayeux.Config
		data string
		fits int
	}{
		{"messages", bayeux.Config{MaxQueue: 4}, "x", 4},
		// {"channel":"/q","data":"…"} around 74 characters is 100 bytes.
		{"bytes", bayeux.Config{MaxQueueBytes: 300}, strings.Repeat("x", 74), 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.cfg)
			p := r.peer().ready()
			sess := r.server.Session(p.id)
			removed := make(chan bool, 1)
			sess.OnRemove(func(expired bool) { removed <- expired })
			for i := range tt.fits {
				if err := sess.Deliver("/q", tt.data); err != nil {
					t.Fatalf("Deliver %d: %v", i, err)
				}
			}
			if err := sess.Deliver("/q", tt.data); !errors.Is(err, bayeux.ErrQueueFull) {
				t.Fatalf("Deliver over the limit = %v", err)
			}
			if <-removed {
				t.Error("OnRemove(true)")
			}
			m := p.connect()[0]
			wantError(t, m, "402::session_unknown")
			if m.Advice.Reconnect != bayeux.ReconnectHandshake {
				t.Errorf("advice %+v", m.Advice)
			}
		})
	}
}

func TestSlowBodyIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{ReadTimeout: 3 * time.Second})
		nc, err := r.net.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		start := time.Now()
		fmt.Fprintf(nc, "POST /bayeux HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[")
		buf := make([]byte, 1024)
		nc.SetReadDeadline(time.Now().Add(time.Minute))
		n, _ := nc.Read(buf)
		if got := time.Since(start); got != 3*time.Second || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 400") {
			t.Errorf("after %v: %.40q", got, buf[:n])
		}
	})
}

func TestOrigins(t *testing.T) {
	r := newRig(t, bayeux.Config{AllowedOrigins: []string{"https://app.example.com", "http://localhost:8080"}})
	tests := []struct {
		name    string
		origin  []string
		fetch   string
		allowed bool
		cors    bool
	}{
		{"none", nil, "", true, false},
		{"none, same site", nil, "same-origin", true, false},
		{"none, cross site", nil, "cross-site", false, false},
		{"same origin", []string{"http://bayeux.test"}, "", true, false},
		{"same origin behind TLS proxy", []string{"https://bayeux.test"}, "", true, false},
		{"same host, other port", []string{"http://bayeux.test:81"}, "", false, false},
		{"listed", []string{"https://app.example.com"}, "cross-site", true, true},
		{"listed with default port", []string{"https://app.example.com:443"}, "", true, true},
		{"listed with port", []string{"http://localhost:8080"}, "", true, true},
		{"other scheme", []string{"http://app.example.com"}, "", false, false},
		{"other port", []string{"https://app.example.com:8443"}, "", false, false},
		{"prefix", []string{"https://app.example.com.evil.test"}, "", false, false},
		{"suffix", []string{"https://evil-app.example.com"}, "", false, false},
		{"userinfo", []string{"https://app.example.com@evil.test"}, "", false, false},
		{"null", []string{"null"}, "", false, false},
		{"empty", []string{""}, "", false, false},
		{"two", []string{"https://app.example.com", "https://evil.test"}, "", false, false},
		{"two in one", []string{"https://app.example.com, https://evil.test"}, "", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			if tt.origin != nil {
				h["Origin"] = tt.origin
			}
			if tt.fetch != "" {
				h.Set("Sec-Fetch-Site", tt.fetch)
			}
			want := map[bool]int{true: 200, false: 403}[tt.allowed]
			status, rh, _, err := r.peer().do(t.Context(), request{body: handshakeMessage, header: h})
			if err != nil || status != want {
				t.Errorf("POST: status %d, %v, want %d", status, err, want)
			}
			checkCORS(t, rh, tt.origin, tt.cors)
			status, rh, _, err = r.peer().do(t.Context(), request{method: "OPTIONS", header: h})
			if err != nil || (status == 204) != tt.allowed {
				t.Errorf("preflight: status %d, %v", status, err)
			}
			checkCORS(t, rh, tt.origin, tt.cors)
			_, resp, err := r.peer().dialWS(h)
			if len(tt.origin) < 2 && (err == nil) != tt.allowed {
				t.Errorf("upgrade: %v, %v", resp, err)
			}
		})
	}
}

func checkCORS(t *testing.T, h http.Header, origin []string, want bool) {
	t.Helper()
	allow, cred := h.Get("Access-Control-Allow-Origin"), h.Get("Access-Control-Allow-Credentials")
	if want && (allow != origin[0] || cred != "true") || !want && (allow != "" || cred != "") {
		t.Errorf("Allow-Origin %q, Allow-Credentials %q", allow, cred)
	}
	if h.Get("Vary") != "Origin" {
		t.Errorf("Vary %q", h.Get("Vary"))
	}
}

// A body that makes the parser work hard must not take long.
func TestHostileRequestsAreCheap(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	p := r.peer().ready()
	many := func(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s, n), ",") }
	bodies := []string{
		"[" + many(`{},`, 100_000) + "]",
		`{"channel":"` + strings.Repeat("/a", 200_000) + `","clientId":"` + p.id + `"}`,
		`{"channel":"/meta/subscribe","clientId":"` + p.id + `","subscription":[` + many(`"/a/b/c/*",`, 40_000) + `]}`,
		`{"channel":"/meta/unsubscribe","clientId":"` + p.id + `","subscription":[` + many(`"/a/b/c/*",`, 40_000) + `]}`,
		"[" + many(`{"channel":"/`+strings.Repeat("a/", 31)+`a","clientId":"`+p.id+`","data":1},`, 1000) + "]",
		strings.Repeat("[", 500_000),
	}
	start := time.Now()
	for _, b := range bodies {
		if _, _, _, err := p.do(context.Background(), request{body: b}); err != nil {
			t.Error(err)
		}
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}
