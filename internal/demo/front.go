package demo

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// front is the proxy before the nodes. All visitors go to one node until it
// can't be reached, then to the next: what any balancer does, made visible.
type front struct {
	cluster *cluster
	proxy   *httputil.ReverseProxy

	mu      sync.Mutex
	current int
}

// secondTry marks the context of a request that is repeated.
type secondTry struct{}

func newFront(c *cluster) *front {
	f := &front{cluster: c}
	target := &url.URL{Scheme: "http", Host: "nodes.invalid"} // the dialer decides
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		// One connection for each request: none is left over to a dead node.
		Transport:     &http.Transport{DialContext: f.dial, DisableKeepAlives: true, DisableCompression: true},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, _ error) {
			// The node died before it answered: the next one can.
			if r.Method == http.MethodGet && r.Context().Value(secondTry{}) == nil {
				f.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), secondTry{}, true)))
				return
			}
			w.Header().Set("Retry-After", "1")
			http.Error(w, "no node answered", http.StatusBadGateway)
		},
	}
	return f
}

// dial connects to the current node or, if it is down, to the next one.
func (f *front) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	err := errors.New("no node is up")
	for range nodes {
		n, i := f.node()
		if address, up := n.address(); up {
			var conn net.Conn
			d := net.Dialer{Timeout: time.Second}
			if conn, err = d.DialContext(ctx, "tcp", strings.TrimPrefix(address, "http://")); err == nil {
				return conn, nil
			}
		}
		f.next(i)
	}
	return nil, err
}

// node is the current node.
func (f *front) node() (*node, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cluster.nodes[f.current], f.current
}

// other is a node that is up and not the current one.
func (f *front) other() *node {
	current, _ := f.node()
	for _, n := range f.cluster.nodes {
		if _, up := n.address(); up && n != current {
			return n
		}
	}
	return nil
}

// next moves on from node i, unless somebody did already.
func (f *front) next(i int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == i {
		f.current = (i + 1) % nodes
	}
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.proxy.ServeHTTP(w, r) }
