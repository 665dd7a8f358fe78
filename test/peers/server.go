package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/ext"
)

// serve is our server as a program: see child for what it answers. What is
// published on /peers/up comes back to all on /peers/down, and bytes in reverse
// from /peers/binary/up on /peers/binary/down; /service/echo answers its sender; nobody may do anything below /denied.
// With park, held connects wait outside of net/http.
func serve(port, origin string, park bool) error {
	n := &node{origin: origin, park: park}
	if err := n.forget(); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/bayeux", n)
	mux.Handle("/bayeux/", n)
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go web.Serve(ln)
	defer web.Close()
	fmt.Println("ready", ln.Addr().(*net.TCPAddr).Port)
	for scan := bufio.NewScanner(os.Stdin); scan.Scan(); {
		verb, rest, _ := strings.Cut(scan.Text(), " ")
		if err := n.do(verb, rest); err != nil {
			return err
		}
	}
	return nil
}

// node is the server of the moment.
type node struct {
	origin   string
	park     bool
	current  atomic.Pointer[bayeux.Server]
	sessions atomic.Pointer[atomic.Int64] // of current
}

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) { n.current.Load().ServeHTTP(w, r) }

func (n *node) do(verb, rest string) error {
	switch verb {
	case "publish":
		channel, data, _ := strings.Cut(rest, " ")
		if err := n.current.Load().Publish(channel, json.RawMessage(data)); err != nil {
			return err
		}
		fmt.Println("done")
	case "forget":
		if err := n.forget(); err != nil {
			return err
		}
		fmt.Println("done")
	case "sessions":
		fmt.Println("done", n.sessions.Load().Load())
	default:
		return errors.New("unknown: " + verb)
	}
	return nil
}

// forget puts a new server, which knows nobody, in the old one's place.
func (n *node) forget() error {
	s, err := bayeux.NewServer(bayeux.Config{
		Timeout:         2 * time.Second, // a client of a forgotten session learns it soon
		AllowedOrigins:  []string{n.origin},
		CallbackPolling: true,
		ParkPolls:       n.park,
		RepeatPolls:     n.park,
		Acknowledge:     true,
		Policy:          policy{},
		Logger:          slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		return err
	}
	count := new(atomic.Int64)
	activity, err := ext.NewActivity(time.Second, ext.ClientActivity)
	if err != nil {
		return err
	}
	for _, e := range []bayeux.Extension{ext.Timestamp{}, ext.TimeSync{}, ext.Binary{}, idle{activity}, application{s, count}} {
		s.AddExtension(e)
	}
	s.HandleService("/service/echo", func(_ context.Context, from *bayeux.ServerSession, m *bayeux.Message) {
		_ = from.Deliver(m.Channel, m.Data) // a session that is gone needs none
	})
	n.sessions.Store(count)
	old := n.current.Swap(s)
	if old == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return old.Shutdown(ctx)
}

// idle is the activity extension for those who ask for it in their handshake.
type idle struct{ *ext.Activity }

func (i idle) Handshake(ctx context.Context, h *bayeux.Handshake) {
	if _, asked := h.Request.Ext["idle"]; asked {
		i.Activity.Handshake(ctx, h)
	}
}

type policy struct{ bayeux.DefaultPolicy }

func denied(channel string) bool { return strings.HasPrefix(channel, "/denied/") }

func (p policy) CanSubscribe(ctx context.Context, from *bayeux.ServerSession, channel string, m *bayeux.Message) bool {
	return !denied(channel) && p.DefaultPolicy.CanSubscribe(ctx, from, channel, m)
}

func (p policy) CanPublish(ctx context.Context, from *bayeux.ServerSession, channel string, m *bayeux.Message) bool {
	return !denied(channel) && p.DefaultPolicy.CanPublish(ctx, from, channel, m)
}

// application is the code on the server that sees what clients publish.
type application struct {
	server   *bayeux.Server
	sessions *atomic.Int64
}

func (a application) Incoming(_ context.Context, _ *bayeux.ServerSession, m *bayeux.Message) bool {
	switch m.Channel {
	case "/peers/up":
		_ = a.server.Publish("/peers/down", m.Data) // raw JSON that was parsed: it cannot fail
	case "/peers/binary/up":
		return a.turn(m) == nil
	}
	return true
}

// turn sends bytes back in reverse: a server that does not read them can't.
func (a application) turn(m *bayeux.Message) error {
	d, binary, err := ext.ReadBinary(m)
	if err != nil || !binary {
		return errors.New("no bytes")
	}
	slices.Reverse(d.Data)
	answer, err := ext.NewBinary("/peers/binary/down", d)
	if err != nil {
		return err
	}
	return a.server.PublishMessage(answer)
}

func (application) Outgoing(*bayeux.ServerSession, *bayeux.Message) bool { return true }

func (a application) Handshake(_ context.Context, h *bayeux.Handshake) {
	a.sessions.Add(1)
	h.Session.OnRemove(func(bool) { a.sessions.Add(-1) })
}
