package bayeux_test

import (
	"net/http"
	"net/http/httptest"
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
