package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/session"
)

// restartAfter is how long a killed node stays down.
const restartAfter = 4 * time.Second

// Interactive serves the demonstration on a loopback address until ctx ends,
// and prints its URL. Flags are more of its nodes' own.
func Interactive(ctx context.Context, program, listen string, out io.Writer, flags ...string) error {
	c, err := startCluster(ctx, program, 30*time.Second, flags...)
	if err != nil {
		return err
	}
	defer c.close()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	stage := &stage{ctx: ctx, cluster: c, front: newFront(c)}
	server := &http.Server{Handler: stage.handler(), ReadHeaderTimeout: 10 * time.Second}
	if _, err := fmt.Fprintf(out, "http://%s/\n", l.Addr()); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}

// stage is the front with the controls that the page shows in the demonstration.
type stage struct {
	ctx     context.Context
	cluster *cluster
	front   *front
}

func (s *stage) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /demo/status", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.status()) })
	mux.HandleFunc("POST /demo/kill", s.kill)
	mux.HandleFunc("POST /demo/attack/{kind}", s.attack)
	protected := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackHost(r.Host) { // a foreign name that was made to point here
			http.Error(w, "this demonstration answers on loopback names only", http.StatusForbidden)
			return
		}
		if len(r.URL.Path) > 6 && r.URL.Path[:6] == "/demo/" {
			protected.ServeHTTP(w, r)
			return
		}
		s.front.ServeHTTP(w, r)
	})
}

type nodeStatus struct {
	Name    string `json:"name"`
	Up      bool   `json:"up"`
	Current bool   `json:"current"`
}

func (s *stage) status() map[string]any {
	current, _ := s.front.node()
	list := []nodeStatus{}
	for _, n := range s.cluster.nodes {
		_, up := n.address()
		list = append(list, nodeStatus{n.name, up, n == current})
	}
	return map[string]any{"nodes": list}
}

// kill ends the current node with SIGKILL and starts it again a little later.
func (s *stage) kill(w http.ResponseWriter, _ *http.Request) {
	n, _ := s.front.node()
	if _, up := n.address(); !up || s.front.other() == nil {
		reply(w, http.StatusConflict, map[string]string{"error": "That node is down already; wait for another one to come back."})
		return
	}
	if err := n.kill(); err != nil {
		reply(w, http.StatusInternalServerError, map[string]string{"error": "The node could not be killed."})
		return
	}
	time.AfterFunc(restartAfter, func() {
		if s.ctx.Err() == nil {
			_ = s.cluster.start(s.ctx, n)
		}
	})
	reply(w, http.StatusOK, map[string]any{"killed": n.name, "restarts_in": restartAfter.Seconds()})
}

// pageSet is a set as the page has it in its storage.
type pageSet struct {
	Gen      string            `json:"gen"`
	Manifest string            `json:"manifest"`
	Blobs    map[string]string `json:"blobs"`
}

func (p pageSet) held() sessionext.Held {
	v, _ := session.ParseVersion(p.Gen)
	return sessionext.Held{Version: v, Manifest: p.Manifest, Blobs: p.Blobs}
}

// attack presents what the page holds, spoiled, to a node that is not in use,
// with the visitor's own cookie, and reports what that node did and why.
func (s *stage) attack(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Set   pageSet `json:"set"`
		Older pageSet `json:"older"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&in); err != nil {
		reply(w, http.StatusBadRequest, map[string]string{"error": "That request was not understood."})
		return
	}
	set, err := spoil(r.PathValue("kind"), in.Set.held(), in.Older.held())
	if err != nil {
		reply(w, http.StatusConflict, map[string]string{"error": "Not possible yet: " + err.Error() + "."})
		return
	}
	n := s.front.other()
	if n == nil {
		reply(w, http.StatusConflict, map[string]string{"error": "No second node is up; try again in a moment."})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	got, answer, err := present(ctx, http.DefaultClient, r.Cookies(), n, set)
	if err != nil {
		reply(w, http.StatusBadGateway, map[string]string{"error": "The attack could not be carried out: " + err.Error()})
		return
	}
	reply(w, http.StatusOK, map[string]any{"node": got.Node, "state": got.State, "reason": got.Reason, "dropped": len(answer.Dropped)})
}

func spoil(kind string, set, older sessionext.Held) (sessionext.Held, error) {
	switch kind {
	case "flip":
		return flipBit(set)
	case "mix":
		return mix(set, older)
	case "omit":
		return leaveOut(set)
	case "replay": // the older set as it was, with the ticket in it
		if len(older.Blobs) == 0 {
			return older, fmt.Errorf("nothing was captured")
		}
		return older, nil
	}
	return set, fmt.Errorf("there is no attack %.20q", kind)
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func loopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
