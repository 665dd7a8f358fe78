package bayeux_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// losing is a connection that dies at the first answer with "lost" in it.
type losing struct {
	net.Conn
	done *atomic.Bool
}

func (c losing) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if bytes.Contains(b[:n], []byte("lost")) && c.done.CompareAndSwap(false, true) {
		c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func losingTransport(n *memNet, done *atomic.Bool) *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := n.Dial(ctx, network, addr)
		return losing{c, done}, err
	}}
}

func TestClientAcknowledges(t *testing.T) {
	for _, ack := range []bool{true, false} {
		for name, list := range transports {
			t.Run(fmt.Sprintf("%v %s", ack, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newServer(t, bayeux.Config{Acknowledge: true})
					var lost atomic.Bool
					n := serveMem(t, s)
					tr := losingTransport(n, &lost)
					t.Cleanup(tr.CloseIdleConnections)
					got := make(inbox, 10)
					c := connected(t, n, bayeux.ClientConfig{Transports: list, Acknowledge: ack, HTTPClient: &http.Client{Transport: tr}})
					if err := c.Subscribe(t.Context(), "/a", got.take); err != nil {
						t.Fatal(err)
					}
					id := c.ID()
					synctest.Wait()
					s.Publish("/a", "lost")
					time.Sleep(5 * time.Second)
					s.Publish("/a", "next")
					if !lost.Load() || c.ID() != id {
						t.Errorf("lost: %v, id %q, was %q", lost.Load(), c.ID(), id)
					}
					if ack {
						got.want(t, `/a "lost"`, `/a "next"`)
					} else {
						got.want(t, `/a "next"`)
					}
					time.Sleep(time.Minute)
					if len(got) > 0 {
						t.Errorf("got %s too", <-got)
					}
				})
			})
		}
	}
}

// What a connect says it has is the number of the last reply, in this session.
func TestClientAcknowledgesByNumber(t *testing.T) {
	const unasked = "unasked"
	offers := map[string]string{ // the handshake's reply, and what the first connects say
		unasked:                       "[- - - -]",
		`true`:                        "[0 7 9 9]",
		`{"enabled":true,"batch":5}`:  "[5 7 9 9]",
		`{"enabled":false}`:           "[- - - -]",
		`false`:                       "[- - - -]",
		`"true"`:                      "[- - - -]",
		`{"enabled":true,"batch":{}}`: "[- - - -]",
		`null`:                        "[- - - -]",
	}
	for offer, want := range offers {
		t.Run(offer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex // of told
				var told []string
				ext := clientTap{func(dir string, m *bayeux.Message) bool {
					if dir == "out" && m.Channel == bayeux.MetaConnect {
						said := "-"
						if raw, ok := m.Ext["ack"]; ok {
							said = string(raw)
						}
						mu.Lock()
						told = append(told, said)
						mu.Unlock()
					}
					return true
				}}
				var connects atomic.Int64
				p := &puppet{reply: func(channel, id string, n int) string {
					if channel == bayeux.MetaHandshake {
						return `[` + ok(channel, id, `,"clientId":"c1","supportedConnectionTypes":["long-polling"],"ext":{"ack":`+strings.Replace(offer, unasked, "true", 1)+`}`) + `]`
					}
					ack := map[int64]string{1: `7`, 2: `9`, 3: `"x"`}[connects.Add(1)]
					time.Sleep(time.Second)
					if ack == "" {
						return `[` + ok(channel, id, "") + `]`
					}
					return `[` + ok(channel, id, `,"ext":{"ack":`+ack+`}`) + `]`
				}}
				c := connected(t, serveMem(t, p), bayeux.ClientConfig{Transports: transports["long-polling"], Acknowledge: offer != unasked,
					Extensions: []bayeux.ClientExtension{ext}})
				time.Sleep(2500 * time.Millisecond)
				mu.Lock()
				if got := fmt.Sprint(told); got != want {
					t.Errorf("connects said %s, want %s", got, want)
				}
				mu.Unlock()
				c.Close(t.Context())
				time.Sleep(time.Minute) // the puppet's last connect
			})
		})
	}
}
