package fuzz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
	"github.com/sealedblob/sealedblob/vectors"
)

func seeds(f *testing.F) []vectors.Vector {
	f.Helper()
	all, err := vectors.All()
	if err != nil {
		f.Fatal(err)
	}
	return all
}

func vectorRing(f *testing.F) *seal.Ring {
	f.Helper()
	dir := f.TempDir()
	if err := vectors.WriteKeys(dir); err != nil {
		f.Fatal(err)
	}
	ring, err := seal.LoadRing(dir, seal.InsecureSampleKeys())
	if err != nil {
		f.Fatal(err)
	}
	return ring
}

// FuzzOpen: only the very strings that were sealed open; everything else is one
// of three errors, with nothing beside it.
func FuzzOpen(f *testing.F) {
	ring := vectorRing(f)
	now := time.Unix(1_800_000_000, 0)
	authentic := map[string]bool{}
	for _, v := range seeds(f) {
		f.Add(v.Text, v.Tenant)
		authentic[v.Text] = true
	}
	f.Fuzz(func(t *testing.T, text, tenant string) {
		o := ring.NewOpener(seal.Scope{App: "shop", Tenant: tenant}, now)
		defer o.Wipe()
		claims, opened, err := o.Attribute(text)
		check(t, authentic[text], text, claims != nil, opened, err)
		manifest, opened, err := o.Manifest(text)
		check(t, authentic[text], text, manifest != nil, opened, err)
		grant, opened, err := o.Grant(text)
		check(t, authentic[text], text, grant != nil, opened, err)
	})
}

// check judges what an opener made of a text: its content and under which key,
// or one of three errors and nothing beside it.
func check(t *testing.T, authentic bool, text string, content bool, opened seal.Opened, err error) {
	t.Helper()
	switch {
	case err == nil && (!authentic || !content):
		t.Errorf("opened a string that nobody sealed: %q", text)
	case err != nil && (content || opened != (seal.Opened{})):
		t.Error("a result beside an error")
	case err != nil && !errors.Is(err, seal.ErrMalformed) && !errors.Is(err, seal.ErrUnknownKey) && !errors.Is(err, seal.ErrAuth):
		t.Errorf("an error of no class: %v", err)
	}
}

// FuzzBayeux: no request makes the server panic, answer with a 5xx, or answer
// with something that is not a Bayeux message.
func FuzzBayeux(f *testing.F) {
	for _, body := range []string{
		`[]`, `{}`, `[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]`,
		`[{"channel":"/meta/connect","clientId":"x","connectionType":"long-polling","id":"1"}]`,
		`[{"channel":"/meta/subscribe","clientId":"x","subscription":["/a","/b/*","/c/**"]},{"channel":"/a","data":{"x":1}}]`,
		`[{"channel":"/meta/handshake","Channel":"/meta/connect"}]`, `[{"channel":"/a","data":` + `[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]` + `}]`,
		`message=%5B%7B%22channel%22%3A%22%2Fmeta%2Fhandshake%22%7D%5D`, "[{\"channel\":\"\xff\"}]",
	} {
		f.Add([]byte(body), false)
	}
	server, err := bayeux.NewServer(bayeux.Config{Logger: slog.New(slog.DiscardHandler), MaxSessions: 1 << 20, Timeout: time.Millisecond, MaxInterval: time.Second})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = server.Shutdown(context.Background()) })
	f.Fuzz(func(t *testing.T, body []byte, form bool) {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/bayeux", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if form {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("status %d", w.Code)
		}
		if w.Code != http.StatusOK {
			return
		}
		var replies []bayeux.Message
		if err := json.Unmarshal(w.Body.Bytes(), &replies); err != nil {
			t.Errorf("the answer is no Bayeux: %v: %q", err, w.Body.Bytes())
		}
	})
}

// FuzzHandshake: whatever is presented, a session comes to life only from the
// set that was pushed, and only for its holder.
func FuzzHandshake(f *testing.F) {
	shop := newShop(f)
	const good = `{"v":1,"attempt":"AAAAAAAAAAAAAAAAAAAAAQ","manifest":"@manifest","blobs":{"@slot0":"@blob0","@slot1":"@blob1"}}`
	if _, state := shop.present(f, shop.expand([]byte(good)), true); state != sessionext.StateRestored {
		f.Fatalf("the good set is answered %q: the target would prove nothing", state)
	}
	f.Add([]byte(good), true)
	f.Add([]byte(good), false)
	f.Add([]byte(strings.Replace(good, "@slot0", "@slot1", 1)), true)
	f.Add([]byte(strings.Replace(good, "@blob0", "@blob0A", 1)), true)
	f.Add([]byte(strings.Replace(good, `,"@slot1":"@blob1"`, "", 1)), true)
	for _, ext := range []string{`{"v":1}`, `{"v":1,"attempt":"BAAAAAAAAAAAAAAAAAAAAA","manifest":"a.b.c.d.e","blobs":{"AAAAAAAAAAAA":"x"}}`, `null`, `[]`} {
		f.Add([]byte(ext), true)
	}
	f.Fuzz(func(t *testing.T, ext []byte, cookie bool) {
		ext = shop.expand(ext)
		status, state := shop.present(t, ext, cookie)
		if status >= 500 {
			t.Errorf("status %d", status)
		}
		if state == sessionext.StateRestored && (!cookie || !shop.same(ext)) {
			t.Errorf("restored from %q, cookie %t", ext, cookie)
		}
	})
}

// shop is one session, its set, and a way to present sets to fresh nodes.
type shop struct {
	config session.Config
	set    sessionext.Request
	cookie *http.Cookie
}

// expand puts the shop's own texts in the place of @manifest, @slot0, @blob0
// and so on. Each worker of a fuzz run is a process with a shop of its own, so
// that a seed can't hold them.
func (s *shop) expand(ext []byte) []byte {
	words := []string{"@manifest", s.set.Manifest}
	for i, slot := range slices.Sorted(maps.Keys(s.set.Blobs)) {
		words = append(words, fmt.Sprint("@slot", i), slot, fmt.Sprint("@blob", i), s.set.Blobs[slot])
	}
	return []byte(strings.NewReplacer(words...).Replace(string(ext)))
}

type keep struct{ push session.Push }

func (k *keep) Push(p session.Push)      { k.push = p }
func (k *keep) Detached()                {}
func (k *keep) Renewed(*session.Session) {}

func newShop(f *testing.F) *shop {
	f.Helper()
	ctx := context.Background()
	s := &shop{config: session.Config{Keys: testkit.Ring(f), Policy: testkit.Policy(f, testkit.ShopPolicy), App: "shop"}}
	s.config.Store = replay.NewMemory(replay.MemoryConfig{})
	m, err := session.New(ctx, s.config)
	if err != nil {
		f.Fatal(err)
	}
	k := &keep{}
	w := httptest.NewRecorder()
	m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		x := session.FromContext(r.Context())
		if err := errors.Join(x.Set(ctx, "cart", "tea"), x.Set(ctx, "login", "ada"), x.Save(ctx), x.Attach(k), x.Acknowledge(ctx, k, nil)); err != nil {
			f.Error(err)
		}
	})).ServeHTTP(w, request("/", ""))
	s.cookie = w.Result().Cookies()[0]
	s.set = sessionext.Request{Manifest: k.push.Manifest, Blobs: k.push.Set}
	return s
}

func request(path, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1"+path, bytes.NewReader([]byte(body)))
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("Content-Type", "application/json")
	return r
}

// present shakes hands with a node that has just started, with an empty store.
func (s *shop) present(tb testing.TB, ext []byte, cookie bool) (status int, state string) {
	tb.Helper()
	config := s.config
	config.Store = replay.NewMemory(replay.MemoryConfig{})
	config.Store = noEpoch{config.Store}
	m, err := session.New(context.Background(), config)
	if err != nil {
		tb.Fatal(err)
	}
	server, err := bayeux.NewServer(bayeux.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	defer server.Shutdown(context.Background())
	server.AddExtension(sessionext.New(m, nil))
	r := request("/bayeux", `[{"channel":"/meta/handshake","version":"1.0","id":"1","supportedConnectionTypes":["long-polling"],"ext":{"sealed":`+string(ext)+`}}]`)
	if cookie {
		r.AddCookie(s.cookie)
	}
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	var replies []bayeux.Message
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), &replies); err != nil {
			tb.Fatalf("%v: %q", err, w.Body.Bytes())
		}
	}
	for _, m := range replies {
		var reply sessionext.Reply
		if ok, err := m.DecodeExt(sessionext.ExtName, &reply); ok && err == nil && reply.State != "" {
			state = reply.State
		}
	}
	return w.Code, state
}

// same reports whether ext says, in whatever spelling, exactly the good set.
func (s *shop) same(ext []byte) bool {
	var got sessionext.Request
	if json.Unmarshal(ext, &got) != nil || got.Manifest != s.set.Manifest || len(got.Blobs) != len(s.set.Blobs) {
		return false
	}
	for slot, envelope := range s.set.Blobs {
		if got.Blobs[slot] != envelope {
			return false
		}
	}
	return true
}

// noEpoch lets a fresh store accept the set that is older than itself.
type noEpoch struct{ replay.Store }

func (n noEpoch) Restore(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
	var err error
	if r.Issued, err = n.Store.Epoch(ctx); err != nil {
		return replay.Restored{}, err
	}
	return n.Store.Restore(ctx, r)
}
