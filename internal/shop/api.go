package shop

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// Ticket is the right to buy one seat.
type Ticket struct {
	Show string `json:"show"`
	Seat string `json:"seat"`
}

// State is what a visitor's page shows.
type State struct {
	Node       string      `json:"node"`
	Session    string      `json:"session,omitempty"` // beginning of the id; empty: none yet
	Version    string      `json:"version"`           // sealed so far; a change of this request is sealed after it
	Expires    time.Time   `json:"expires"`
	Attributes []Attribute `json:"attributes"`
	Rules      []Rule      `json:"rules"`
	Now        time.Time   `json:"now"`
}

// Attribute is one attribute with its value.
type Attribute struct {
	Name    string    `json:"name"`
	Value   any       `json:"value"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	Once    bool      `json:"once"`
}

// Rule is the part of the policy that the page explains.
type Rule struct {
	Name     string `json:"name"`
	TTL      int    `json:"ttl"` // seconds
	Once     bool   `json:"once"`
	OnExpiry string `json:"on_expiry"`
}

// The attributes, by which they are read and set. Their rules are the policy file's.
var (
	loginName = policy.Attr[string]("login")
	cart      = policy.Attr[[]string]("cart")
	ticket    = policy.Once[Ticket]("ticket")
)

const (
	maxCart     = 100
	bodyTimeout = 10 * time.Second
)

func (n *Node) api() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/state", n.handle(func(*http.Request) (any, error) { return nil, nil }))
	mux.HandleFunc("POST /api/login", n.handle(login))
	mux.HandleFunc("POST /api/cart", n.handle(addToCart))
	mux.HandleFunc("POST /api/ticket", n.handle(reserve))
	mux.HandleFunc("POST /api/buy", n.handle(buy))
	mux.HandleFunc("POST /api/logout", n.handle(logout))
	return mux
}

// action changes the session; its result, if any, is shown as "result".
type action func(r *http.Request) (any, error)

var errInput = errors.New("the request is not understood")

// handle runs an action and answers with its result and the new state.
func (n *Node) handle(do action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
		result, err := do(r)
		status, body := http.StatusOK, map[string]any{"result": result}
		if err != nil {
			status = session.HTTPStatus(err)
			if errors.Is(err, errInput) {
				status = http.StatusBadRequest
			}
			body = map[string]any{"error": publicText(err)}
			if errors.Is(err, session.ErrMoved) {
				w.Header().Set(session.StatusHeader, session.StatusRequired)
			}
			if status == http.StatusServiceUnavailable {
				w.Header().Set("Retry-After", "1")
			}
		}
		body["state"] = n.state(session.FromContext(r.Context()))
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
}

// publicText says what a visitor may know.
func publicText(err error) string {
	switch {
	case errors.Is(err, replay.ErrReplayed):
		return "This ticket was already used."
	case errors.Is(err, session.ErrNoAttribute):
		return "There is no ticket to use: it has expired, or it was used already. If an answer was lost, the purchase stands."
	case errors.Is(err, session.ErrTooLarge):
		return "The cart is full."
	case errors.Is(err, errInput):
		return "That request was not understood."
	case errors.Is(err, session.ErrEnded):
		return "You are logged out."
	}
	return "Please try again in a moment."
}

func (n *Node) state(s *session.Session) State {
	out := State{Node: n.name, Version: session.FormatVersion(s.Version()), Expires: s.Expires(), Now: time.Now(), Attributes: []Attribute{}}
	for _, info := range s.Attributes() {
		a := Attribute{Name: info.Name, Issued: info.Issued, Expires: info.Expires, Once: info.Once}
		if s.Get(info.Name, &a.Value) == nil {
			out.Attributes = append(out.Attributes, a)
		}
	}
	if s.Err() == nil && !s.New() {
		out.Session = s.ID().String()[:6]
	}
	for _, r := range n.sessions.Policy().Rules() {
		out.Rules = append(out.Rules, Rule{r.Name, int(r.TTL / time.Second), r.Once, r.OnExpiry.String()})
	}
	return out
}

func input(r *http.Request, into any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", errInput, err)
	}
	return nil
}

// login asks for no password: this is a demonstration.
func login(r *http.Request) (any, error) {
	var in struct {
		User string `json:"user"`
	}
	if err := input(r, &in); err != nil {
		return nil, err
	}
	if in.User == "" || len(in.User) > 60 {
		return nil, errInput
	}
	ctx := r.Context()
	if _, err := session.FromContext(ctx).Login(ctx, in.User, func(context.Context) error { return nil }); err != nil {
		return nil, err
	}
	return nil, session.Set(ctx, loginName, in.User)
}

func addToCart(r *http.Request) (any, error) {
	var in struct {
		Item string `json:"item"`
	}
	if err := input(r, &in); err != nil {
		return nil, err
	}
	if in.Item == "" || len(in.Item) > 80 {
		return nil, errInput
	}
	return nil, putInCart(r.Context(), in.Item)
}

func putInCart(ctx context.Context, item string) error {
	return session.Update(ctx, cart, func(items []string) ([]string, error) {
		if len(items) >= maxCart {
			return nil, session.ErrTooLarge
		}
		return append(items, item), nil
	})
}

// reserve grants the right to buy one seat.
func reserve(r *http.Request) (any, error) {
	row, err := rand.Int(rand.Reader, big.NewInt(20))
	if err != nil {
		return nil, err
	}
	seat, err := rand.Int(rand.Reader, big.NewInt(30))
	if err != nil {
		return nil, err
	}
	t := Ticket{Show: "The Failover, Act II", Seat: fmt.Sprintf("row %c, seat %d", 'A'+row.Int64(), 1+seat.Int64())}
	return t, session.Set(r.Context(), ticket, t)
}

// buy spends the ticket. The page draws an Idempotency-Key for each purchase
// and repeats it when an answer was lost.
func buy(r *http.Request) (any, error) {
	owner, err := seal.ParseID(r.Header.Get("Idempotency-Key"))
	if err != nil {
		return nil, fmt.Errorf("%w: Idempotency-Key", errInput)
	}
	t, err := session.Take(r.Context(), ticket, replay.Owner(owner))
	if err != nil {
		return nil, err
	}
	// The right is spent: from here on the purchase stands, whatever the cart says.
	if err := putInCart(r.Context(), "Ticket: "+t.Seat+" (paid)"); err != nil && !errors.Is(err, session.ErrTooLarge) {
		return t, err
	}
	return t, nil
}

func logout(r *http.Request) (any, error) {
	return nil, session.FromContext(r.Context()).Logout(r.Context())
}
