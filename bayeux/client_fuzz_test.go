package bayeux_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// lines answers each request with the next line, and no more when they are used up.
type lines struct {
	mu   sync.Mutex
	rest [][]byte
}

func (l *lines) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rest) == 0 {
		l.mu.Unlock()
		<-r.Context().Done()
		l.mu.Lock()
		return nil, r.Context().Err()
	}
	body := l.rest[0]
	l.rest = l.rest[1:]
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

// noPanics fails where the client had to catch a panic.
type noPanics struct {
	slog.Handler
	t *testing.T
}

func (h noPanics) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		r.Attrs(func(a slog.Attr) bool { h.t.Errorf("%s: %v", r.Message, a); return true })
	}
	return nil
}

func (noPanics) Enabled(context.Context, slog.Level) bool { return true }

// FuzzClient: whatever a server answers, line by line, the client hands over
// only what was subscribed to, and can be closed at once.
func FuzzClient(f *testing.F) {
	const hello = `[{"channel":"/meta/handshake","successful":true,"version":"1.0","clientId":"c","supportedConnectionTypes":["long-polling"],"ext":{"ack":true}}]`
	for _, s := range []string{
		hello + "\n" + `[{"channel":"/meta/subscribe","successful":true,"subscription":"/a/**"}]` + "\n" +
			`[{"channel":"/meta/connect","successful":true,"ext":{"ack":1}},{"channel":"/a/b","data":{"x":1}}]` + "\n" +
			`[{"channel":"/a","data":1},{"channel":"/meta/connect","successful":false,"error":"402::unknown","advice":{"reconnect":"handshake","interval":5}}]` + "\n" + hello,
		hello + "\n" + `[{"channel":"/meta/subscribe","successful":false,"error":"403::x"}]` + "\n" + `[{"channel":"/meta/connect","successful":true,"advice":{"reconnect":"none"}}]`,
		`[{"channel":"/meta/handshake","successful":false,"advice":{"reconnect":"retry","interval":-1}}]` + "\n[]\n{}\nnull",
		hello + "\n" + `[{"channel":"/meta/subscribe","id":"2","successful":true},{"channel":"/a/c","data":null},{"channel":"/a/**","data":1}]` + "\n" +
			`[{"channel":"/meta/connect","id":3,"successful":true,"advice":{"timeout":9e9,"interval":9e9}}]`,
		`[{"channel":"/meta/handshake","advice":{"interval":1e7}}]`,
		strings.Repeat("[", 100), "\n\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answers []byte) {
		if len(answers) > 1<<16 {
			t.Skip("long inputs find nothing more")
		}
		synctest.Test(t, func(t *testing.T) {
			c, err := bayeux.NewClient("http://bayeux.test/", bayeux.ClientConfig{
				HTTPClient: &http.Client{Transport: &lines{rest: bytes.Split(answers, []byte("\n"))}},
				Transports: []string{bayeux.LongPolling}, Acknowledge: true, Logger: slog.New(noPanics{t: t}),
			})
			if err != nil {
				t.Fatal(err)
			}
			c.Subscribe(t.Context(), "/a/**", func(m *bayeux.Message) {
				if !strings.HasPrefix(m.Channel, "/a/") || strings.Contains(m.Channel, "*") || !json.Valid(m.Data) {
					t.Errorf("handed %q %q", m.Channel, m.Data)
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			if err := c.Connect(ctx); err == nil && c.ID() == "" {
				t.Error("connected without a session")
			}
			if ctx.Err() != nil {
				t.Error("Connect did not end by itself")
			}
			time.Sleep(time.Hour)
			c.Publish(ctx, "/a/b", 1)
			start := time.Now()
			c.Close(ctx)
			if d := time.Since(start); d > 11*time.Second {
				t.Errorf("Close took %v", d)
			}
		})
	})
}
