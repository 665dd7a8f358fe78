package main

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/securecookie"
	gorilla "github.com/gorilla/sessions"
	"github.com/redis/go-redis/v9"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// A process with the first variable set serves that system; see [startServer].
const (
	serveVariable = "SEALEDBLOB_BENCH_SERVE"
	redisVariable = "SEALEDBLOB_BENCH_REDIS"
	usagePath     = "/usage"
)

// cart is what every session holds: 256 bytes of JSON, changed by each request.
type cart struct {
	N     int
	Items string
}

var items = strings.Repeat("tea, milk and salt; ", 12)[:235]

// sites are the systems, in the order of the table.
var sites = []string{"floor", "stateless", "stateless+store", "scs memory", "gorilla cookie", "scs Redis"}

// visit changes the cart and answers with the number of visits.
func visit(w http.ResponseWriter, c cart) {
	_, _ = io.WriteString(w, strconv.Itoa(c.N))
}

func site(name, redisAddress string) (http.Handler, error) {
	switch name {
	case "floor":
		return floor(), nil
	case "stateless":
		return stateless(replay.None{})
	case "stateless+store":
		return stateless(replay.NewMemory(replay.MemoryConfig{}))
	case "scs memory":
		return withSCS(scs.New()), nil
	case "scs Redis":
		m := scs.New()
		m.Store = goredisstore.New(redis.NewClient(&redis.Options{Addr: redisAddress}))
		return withSCS(m), nil
	case "gorilla cookie":
		return withGorilla(), nil
	}
	return nil, fmt.Errorf("no system %q", name)
}

// floorCookie is as long as the cookie of stateless.
const floorCookie = 1180

// floor only sets a cookie, as long as ours.
func floor() http.Handler {
	value := strings.Repeat("x", floorCookie)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{
			Name: session.StatelessCookieName + "0", Value: value, Path: "/", MaxAge: 43200, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: true,
		})
		visit(w, cart{})
	})
}

var benchCart = policy.Attr[cart]("cart", policy.TTL(time.Hour))

func stateless(store replay.Store) (http.Handler, error) {
	k, err := newKit()
	if err != nil {
		return nil, err
	}
	p, err := policy.New(1, policy.SessionRule{Idle: lifetime, Absolute: 12 * time.Hour}, benchCart)
	if err != nil {
		return nil, err
	}
	st, err := session.NewStateless(context.Background(), session.StatelessConfig{Config: session.Config{
		Keys: k.ring, Policy: p, Store: store, App: "shop", SecureCookie: true,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}})
	if err != nil {
		return nil, err
	}
	return st.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c cart
		if err := session.Update(r.Context(), benchCart, func(old cart) (cart, error) {
			c = cart{old.N + 1, items}
			return c, nil
		}); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		visit(w, c)
	})), nil
}

func withSCS(m *scs.SessionManager) http.Handler {
	gob.Register(cart{})
	m.Cookie.Secure = true
	return m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		old, _ := m.Get(r.Context(), "cart").(cart)
		c := cart{old.N + 1, items}
		m.Put(r.Context(), "cart", c)
		visit(w, c)
	}))
}

// withGorilla encrypts, as ours does.
func withGorilla() http.Handler {
	gob.Register(cart{})
	store := gorilla.NewCookieStore(securecookie.GenerateRandomKey(64), securecookie.GenerateRandomKey(32))
	store.Options.Secure, store.Options.HttpOnly = true, true
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := store.Get(r, "session")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		old, _ := s.Values["cart"].(cart)
		c := cart{old.N + 1, items}
		s.Values["cart"] = c
		if err := s.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		visit(w, c)
	})
}

// serve runs one system until standard input ends.
func serve(name string) error {
	if h, err := fanHandler(name); err == nil {
		return serveFan(h)
	}
	runtime.GOMAXPROCS(1)
	h, err := site(name, os.Getenv(redisVariable))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc(usagePath, func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_ = json.NewEncoder(w).Encode(usage{CPU: cpu(), Mallocs: m.Mallocs, Bytes: m.TotalAlloc})
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(l, mux)
}
