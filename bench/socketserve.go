package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	coder "github.com/coder/websocket"
	gorillaws "github.com/gorilla/websocket"
	"github.com/lxzan/gws"

	"github.com/sealedblob/sealedblob/bayeux"
)

// oursSocket is this project's server: its WebSockets, with all that reads Bayeux.
const oursSocket = "ours, with Bayeux"

// socketServers are the libraries that are compared. Each reads text and throws it away.
var socketServers = []string{oursSocket, "gws", "gws, detached", "gorilla", "coder"}

// maxSocketMessage is the limit of a message, the same for all.
const maxSocketMessage = 512 << 10

// heapPath answers with the size of the heap after a collection.
const heapPath = "/heap"

func socketHandler(name string) (http.Handler, error) {
	h := map[string]http.HandlerFunc{"gws": withGWS(false), "gws, detached": withGWS(true), "gorilla": withGorillaSocket, "coder": withCoder}[name]
	if name == oursSocket {
		s, err := bayeux.NewServer(bayeux.Config{HandshakeTimeout: time.Hour, MaxBody: maxSocketMessage, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, err
		}
		h = s.ServeHTTP
	}
	if h == nil {
		return nil, errors.ErrUnsupported
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc(heapPath, func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		fmt.Fprint(w, m.HeapAlloc)
	})
	return mux, nil
}

// withGWS reads in the handler's goroutine, or in one of its own, which lets net/http's
// buffers go.
func withGWS(detached bool) http.HandlerFunc {
	u := gws.NewUpgrader(dropGWS{}, &gws.ServerOption{ReadMaxPayloadSize: maxSocketMessage})
	return func(w http.ResponseWriter, r *http.Request) {
		switch c, err := u.Upgrade(w, r); {
		case err != nil:
		case detached:
			go c.ReadLoop()
		default:
			c.ReadLoop()
		}
	}
}

type dropGWS struct{ gws.BuiltinEventHandler }

func (dropGWS) OnMessage(_ *gws.Conn, m *gws.Message) { _ = m.Close() }
func (dropGWS) OnPing(c *gws.Conn, payload []byte)    { _ = c.WritePong(payload) }
func (dropGWS) OnClose(c *gws.Conn, _ error)          {}

func withGorillaSocket(w http.ResponseWriter, r *http.Request) {
	c, err := new(gorillaws.Upgrader).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetReadLimit(maxSocketMessage)
	for err == nil {
		_, _, err = c.ReadMessage()
	}
}

func withCoder(w http.ResponseWriter, r *http.Request) {
	c, err := coder.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(maxSocketMessage)
	for err == nil {
		_, _, err = c.Read(r.Context())
	}
}
