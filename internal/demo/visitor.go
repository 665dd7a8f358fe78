package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/internal/shop"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// visitor is a customer of the shop: a cookie jar, and a Bayeux client that
// keeps the sealed set. A sly one never says which set it holds.
type visitor struct {
	base   string
	http   *http.Client
	keeper *sessionext.Keeper
	bayeux *bayeux.Client
	sly    bool
}

func newVisitor(base string) *visitor {
	jar, _ := cookiejar.New(nil) // never fails without options
	return &visitor{base: base, http: &http.Client{Jar: jar, Timeout: 10 * time.Second}, keeper: sessionext.NewKeeper()}
}

// answer is what the shop's API says.
type answer struct {
	status int
	State  shop.State      `json:"state"`
	Error  string          `json:"error"`
	Result json.RawMessage `json:"result"`
}

// call uses the API at base; while the session is not on the node yet, it
// repeats the request, as the page does.
func (v *visitor) call(ctx context.Context, base, method, path string, body any) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	payload, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	attempt := seal.NewID().String()
	for {
		a, again, err := v.once(ctx, base, method, path, payload, attempt)
		if err != nil || !again {
			return a, err
		}
		select {
		case <-ctx.Done():
			return a, fmt.Errorf("%s: the session did not come: %w", path, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (v *visitor) once(ctx context.Context, base, method, path string, payload []byte, attempt string) (a answer, again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(payload))
	if err != nil {
		return a, false, err
	}
	r.Header.Set("Idempotency-Key", attempt)
	res, err := v.http.Do(r)
	if err != nil {
		return a, false, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return a, false, err
	}
	a.status = res.StatusCode
	if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get(session.StatusHeader) == session.StatusRequired {
		return a, true, nil
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, false, fmt.Errorf("%s answered %d %.80q", path, res.StatusCode, text)
	}
	return a, false, nil
}

// do calls the API through the front and insists on success.
func (v *visitor) do(ctx context.Context, method, path string, body any) (shop.State, error) {
	a, err := v.call(ctx, v.base, method, path, body)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%s answered %d %s", path, a.status, a.Error)
	}
	return a.State, err
}

// connect opens the Bayeux connection, with the set in the keeper.
func (v *visitor) connect(ctx context.Context) error {
	var ext bayeux.ClientExtension = v.keeper
	if v.sly {
		ext = sly{v.keeper}
	}
	c, err := bayeux.NewClient(v.base+"/bayeux", bayeux.ClientConfig{
		HTTPClient: v.http, Extensions: []bayeux.ClientExtension{ext}, Backoff: 100 * time.Millisecond, MaxBackoff: time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	v.bayeux = c
	return c.Connect(ctx)
}

// leave closes the page; the cookie and the set stay.
func (v *visitor) leave(ctx context.Context) {
	if v.bayeux != nil {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		_ = v.bayeux.Close(ctx)
		v.bayeux = nil
	}
}

// reload is a new page with what the old one had stored.
func (v *visitor) reload(ctx context.Context) error {
	held, _ := v.keeper.Held()
	v.leave(ctx)
	v.keeper = sessionext.NewKeeper()
	v.keeper.Put(held)
	return v.connect(ctx)
}

// cookies is a copy of what the visitor's jar holds for the shop.
func (v *visitor) cookies() []*http.Cookie {
	u, err := url.Parse(v.base)
	if err != nil {
		return nil
	}
	return v.http.Jar.Cookies(u)
}

// wait blocks until ok holds for the set in the keeper.
func (v *visitor) wait(ctx context.Context, what string, ok func(sessionext.Held, sessionext.Reply) bool) (sessionext.Held, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		changed := v.keeper.Changed()
		held, _ := v.keeper.Held()
		if ok(held, v.keeper.Last()) {
			return held, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return held, fmt.Errorf("waiting for %s: %w (holding %s)", what, ctx.Err(), session.FormatVersion(held.Version))
		}
	}
}

// waitSet waits for a set of n blobs that is not the one from before. Versions
// would not tell: a login begins a new session's.
func (v *visitor) waitSet(ctx context.Context, n int, before sessionext.Held) (sessionext.Held, error) {
	return v.wait(ctx, fmt.Sprintf("a set of %d blobs", n), func(h sessionext.Held, _ sessionext.Reply) bool {
		return len(h.Blobs) == n && h.Manifest != before.Manifest
	})
}

// sly is an extension that takes everything and acknowledges nothing.
type sly struct{ *sessionext.Keeper }

func (s sly) Outgoing(m *bayeux.Message) bool {
	if m.Channel == bayeux.MetaConnect {
		return m.SetExt(sessionext.ExtName, sessionext.Request{V: 1}) == nil
	}
	return s.Keeper.Outgoing(m)
}

func value(s shop.State, name string) string {
	i := slices.IndexFunc(s.Attributes, func(a shop.Attribute) bool { return a.Name == name })
	if i < 0 {
		return ""
	}
	return fmt.Sprint(s.Attributes[i].Value)
}
