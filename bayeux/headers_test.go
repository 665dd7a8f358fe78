package bayeux_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/bayeux"
)

// Pages of other origins may send the headers that are listed, and no pattern of them.
func TestAllowedHeaders(t *testing.T) {
	for _, tt := range []struct {
		names []string
		want  string
	}{{nil, "Content-Type"}, {[]string{"Authorization", "X-Tenant"}, "Content-Type, Authorization, X-Tenant"}} {
		server, err := bayeux.NewServer(bayeux.Config{AllowedOrigins: []string{"https://app.example.com"}, AllowedHeaders: tt.names})
		if err != nil {
			t.Fatal(err)
		}
		r, w := httptest.NewRequest(http.MethodOptions, "/bayeux", nil), httptest.NewRecorder()
		r.Header.Set("Origin", "https://app.example.com")
		server.ServeHTTP(w, r)
		if got := w.Header().Get("Access-Control-Allow-Headers"); got != tt.want {
			t.Errorf("%q: allowed %q, want %q", tt.names, got, tt.want)
		}
	}
	for _, name := range []string{"", "*", "X-*", "a b", "a,b", "a\r\nb", "é"} {
		if _, err := bayeux.NewServer(bayeux.Config{AllowedHeaders: []string{name}}); err == nil {
			t.Errorf("%q is allowed", name)
		}
	}
}

// encoded writes another body than the handler's, as a compressing one does.
type encoded struct{ http.ResponseWriter }

func (w encoded) Write(b []byte) (int, error) {
	_, err := w.ResponseWriter.Write(append([]byte("encoded: "), b...))
	return len(b), err
}

func (w encoded) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A handler around the server may encode its responses.
func TestEncodingMiddleware(t *testing.T) {
	server, err := bayeux.NewServer(parking(bayeux.Config{Logger: silent}))
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "test")
		server.ServeHTTP(encoded{w}, r)
	}))
	defer web.Close()
	resp, err := http.Post(web.URL, "application/json", strings.NewReader(handshakeMessage))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasPrefix(string(body), "encoded: [") || !strings.HasSuffix(string(body), "]") {
		t.Errorf("body %q, %v", body, err)
	}
}
