package bayeux_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// get makes a callback-polling request.
func (p *peer) get(query string, header http.Header) (status int, h http.Header, body string) {
	p.t.Helper()
	r, err := http.NewRequest("GET", p.url+"?"+query, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if header == nil {
		header = http.Header{"Sec-Fetch-Site": {"same-origin"}}
	}
	for k, v := range header {
		r.Header[k] = v
	}
	resp, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// call makes a callback-polling request and reads the batch it is answered with.
func (p *peer) call(batch string) []*bayeux.Message {
	p.t.Helper()
	q := url.Values{"jsonp": {"cb"}, "message": {strings.ReplaceAll(batch, "$ID", p.id)}}
	status, _, body := p.get(q.Encode(), nil)
	inner, ok := strings.CutPrefix(body, "/**/cb(")
	if status != 200 || !ok {
		p.t.Fatalf("status %d, %q", status, body)
	}
	inner, ok = strings.CutSuffix(inner, ");")
	msgs, err := decodeBatch([]byte(inner))
	if !ok || err != nil {
		p.t.Fatalf("%q: %v", body, err)
	}
	return msgs
}

const callbackHandshake = `[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["callback-polling"],"id":"h"}]`

func TestCallbackPolling(t *testing.T) {
	r := newRig(t, bayeux.Config{CallbackPolling: true})
	p := r.peer()
	m := p.call(callbackHandshake)[0]
	wantOK(t, m)
	if got := strings.Join(m.SupportedConnectionTypes, " "); got != "websocket long-polling callback-polling" {
		t.Errorf("supported: %s", got)
	}
	p.id = m.ClientID
	connect := `[{"channel":"/meta/connect","clientId":"$ID","connectionType":"callback-polling","id":"c"}]`
	wantOK(t, p.call(connect)[0])
	msgs := p.call(`[{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/a"},{"channel":"/b","clientId":"$ID","data":1}]`)
	wantOK(t, msgs[0])
	wantOK(t, msgs[1])
	done := make(chan []*bayeux.Message)
	go func() { done <- p.call(connect) }()
	select {
	case msgs := <-done:
		t.Fatalf("%d messages before there were any", len(msgs))
	case <-time.After(50 * time.Millisecond):
	}
	if err := r.server.Publish("/a", 1); err != nil {
		t.Fatal(err)
	}
	if got := find(<-done, "/a"); len(got) != 1 {
		t.Errorf("%d deliveries, want 1", len(got))
	}
}

func TestCallbackPollingIsOffByDefault(t *testing.T) {
	p := newRig(t, bayeux.Config{}).peer()
	status, h, body := p.get(url.Values{"message": {callbackHandshake}}.Encode(), nil)
	if status != 405 || h.Get("Allow") != "POST, OPTIONS" || strings.Contains(body, "(") {
		t.Errorf("status %d, Allow %q, %q", status, h.Get("Allow"), body)
	}
}

func TestCallbackReply(t *testing.T) {
	r := newRig(t, bayeux.Config{CallbackPolling: true})
	p := r.peer().ready()
	r.server.Session(p.id).Deliver("/a", "x\u2028y\u2029</script>")
	q := url.Values{"message": {`[{"channel":"/meta/connect","clientId":"` + p.id + `"}]`}}
	status, h, body := p.get(q.Encode(), nil)
	if status != 200 || !strings.HasPrefix(body, "/**/jsonpcallback([{") || !strings.HasSuffix(body, "}]);") {
		t.Errorf("status %d, %q", status, body)
	}
	if strings.ContainsAny(body, "\u2028\u2029") || !strings.Contains(body, `x\u2028y\u2029`) {
		t.Errorf("line separators in %q", body)
	}
	for name, want := range map[string]string{
		"Content-Type":           "text/javascript;charset=UTF-8",
		"X-Content-Type-Options": "nosniff",
		"Content-Disposition":    `attachment; filename="bayeux.js"`,
		"Cache-Control":          "no-store",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestCallbackRequests(t *testing.T) {
	r := newRig(t, bayeux.Config{CallbackPolling: true, MaxBody: 2048, MaxBatch: 3})
	unknown := `{"channel":"/meta/connect","clientId":"x"}`
	q := func(callback, message string) string {
		return "jsonp=" + url.QueryEscape(callback) + "&message=" + url.QueryEscape(message)
	}
	tests := []struct {
		name, query string
		status      int
	}{
		{"name", q("cb", unknown), 200},
		{"path", q("a.b.c", unknown), 200},
		{"dollar", q("_$1", unknown), 200},
		{"longest", q(strings.Repeat("a", 64), unknown), 200},
		{"too long", q(strings.Repeat("a", 65), unknown), 400},
		{"empty", q("", unknown), 400},
		{"call", q("alert(1)", unknown), 400},
		{"statement", q("a;b", unknown), 400},
		{"tag", q("<script>", unknown), 400},
		{"new line", q("a\nb", unknown), 400},
		{"index", q("a[0]", unknown), 400},
		{"minus", q("a-b", unknown), 400},
		{"digit first", q("1a", unknown), 400},
		{"digit after a dot", q("a.1", unknown), 400},
		{"two dots", q("a..b", unknown), 400},
		{"dot last", q("a.", unknown), 400},
		{"letter not in ASCII", q("ä", unknown), 400},
		{"two callbacks", q("a", unknown) + "&jsonp=b", 400},
		{"no message", "jsonp=cb", 400},
		{"bad message", q("cb", "{"), 400},
		{"bad encoding", "jsonp=cb&message=%zz", 400},
		{"several messages", q("cb", unknown) + "&message=" + url.QueryEscape("["+unknown+","+unknown+"]"), 200},
		{"too many messages", q("cb", "["+unknown+","+unknown+","+unknown+","+unknown+"]"), 413},
		{"too long a query", q("cb", unknown) + "&x=" + strings.Repeat("x", 2048), 414},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := r.peer()
			p.t = t
			status, _, body := p.get(tt.query, nil)
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			if status != 200 && (len(body) > 64 || strings.Contains(body, "(")) {
				t.Errorf("refusal %q", body)
			}
		})
	}
}

// The origin list holds for scripts too, by what browsers tell of the page.
func TestCallbackOrigins(t *testing.T) {
	r := newRig(t, bayeux.Config{CallbackPolling: true, AllowedOrigins: []string{"https://app.example.com"}})
	tests := []struct {
		name, site string
		referer    []string
		allowed    bool
	}{
		{"neither", "", nil, false},
		{"same origin", "same-origin", nil, true},
		{"same origin by referer", "", []string{"http://bayeux.test/page?x#y"}, true},
		{"listed", "cross-site", []string{"https://app.example.com/"}, true},
		{"listed, old browser", "", []string{"https://app.example.com/page"}, true},
		{"not listed", "cross-site", []string{"https://evil.test/"}, false},
		{"not listed, old browser", "", []string{"https://evil.test/"}, false},
		{"listed as a prefix", "cross-site", []string{"https://app.example.com.evil.test/"}, false},
		{"listed as a path", "cross-site", []string{"https://evil.test/https://app.example.com/"}, false},
		{"listed as a user", "cross-site", []string{"https://app.example.com@evil.test/"}, false},
		{"page without a referer", "cross-site", nil, false},
		{"sibling without a referer", "same-site", nil, false},
		{"opened by hand", "none", nil, false},
		{"two referers", "cross-site", []string{"https://app.example.com/", "https://evil.test/"}, false},
		{"garbage", "cross-site", []string{"%"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			if tt.site != "" {
				h.Set("Sec-Fetch-Site", tt.site)
			}
			if tt.referer != nil {
				h["Referer"] = tt.referer
			}
			p := r.peer()
			p.t = t
			status, _, body := p.get(url.Values{"message": {callbackHandshake}}.Encode(), h)
			if want := map[bool]int{true: 200, false: 403}[tt.allowed]; status != want {
				t.Errorf("status %d, want %d: %q", status, want, body)
			}
		})
	}
}
