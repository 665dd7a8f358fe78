package bayeux

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// The defaults of [Config].
const (
	defaultTimeout          = 30 * time.Second
	defaultMaxInterval      = 10 * time.Second
	defaultHandshakeTimeout = 10 * time.Second
	defaultReadTimeout      = 30 * time.Second
	defaultWriteTimeout     = 10 * time.Second
	defaultMaxBody          = 512 << 10
	defaultMaxPublication   = 64 << 10
	defaultMaxBatch         = 1000
	defaultMaxDepth         = 16
	defaultMaxSubscriptions = 1000
	defaultMaxSessions      = 100_000
	defaultMaxPerBrowser    = 256
	defaultMaxPolls         = 4
	defaultMultiInterval    = 2 * time.Second
	defaultMaxLazyTimeout   = 5 * time.Second
	defaultMaxQueue         = 1000
	defaultMaxQueueBytes    = 1 << 20
)

// highestMaxDepth is what every node and our client read, whatever their own limits:
// what one node accepts all can take.
const highestMaxDepth = clientMaxDepth

// Config configures a [Server]. The zero Config is a safe default: same-origin
// browsers only, every resource bounded. A negative duration or limit, a duration above
// ten years and a limit above 2^30 are refused by [NewServer].
type Config struct {
	// Timeout is how long a /meta/connect without news is held. Zero means 30 s.
	Timeout time.Duration
	// Interval is how long clients are told to wait between two connects.
	Interval time.Duration
	// MaxInterval is how long a session outlives its last connect reply (plus
	// Interval). Zero means 10 s.
	MaxInterval time.Duration
	// HandshakeSpread: a client that must shake hands again is told to wait a
	// random time below this, so that the clients of a lost node do not come at
	// once. Zero means no wait.
	HandshakeSpread time.Duration

	// MultiSessionInterval is how long a client is told to wait between two
	// connects when it may not be held; see MaxPollsPerBrowser. Zero means 2 s.
	MultiSessionInterval time.Duration
	// LazyChannels lists channels and wildcards whose messages are lazy: they wait
	// for the next response to their receiver. A wildcard makes what it covers
	// lazy.
	LazyChannels []string
	// MaxLazyTimeout is how long a lazy message waits at most for another reason
	// to respond. Zero means 5 s.
	MaxLazyTimeout time.Duration

	// ParkPolls lets a held connect over HTTP/1.1 wait without net/http: its
	// connection is hijacked, and given back to the same [http.Server] once the
	// reply was written. It takes 6 KiB of memory instead of 31, and more time of a
	// processor for each reply.
	//
	// For middleware such a request ends when it is parked, with nothing written;
	// headers that it had set by then are sent. The http.Server calls ConnState (with
	// StateHijacked, then StateNew) and ConnContext anew, waits for the next
	// request as for the first of a connection (ReadHeaderTimeout and not
	// IdleTimeout), and does not wait for parked connects in its Shutdown, which
	// [Server.Shutdown] does. Where a connection can't be hijacked or given back
	// (HTTP/2, HTTP/1.0, a ResponseWriter without it, an encoded response), or the
	// request's body is not known to be whole (chunked, or cut by middleware),
	// connects are held as ever.
	//
	// ConnContext may get a wrapper in the place of the *net.TCPConn or *tls.Conn,
	// and BaseContext a listener whose Addr is the connection's local address.
	// SetKeepAlivesEnabled does not reach what is parked. Zero: off.
	ParkPolls bool
	// RepeatPolls, with ParkPolls, lets the connection of a parked connect take its
	// client's next connects itself, for half of the processor's time: as long
	// as each comes alone, and with a head that is, byte for byte but for the
	// Content-Length, that of a request that came by the http.Server before. What else
	// comes is given back.
	//
	// Middleware, and a mux, see the first connects of a connection and no more, as they
	// see of a WebSocket the upgrade alone: what they would refuse, or pass to another
	// handler, later they are not asked. Middleware that sets headers of the response
	// sees all.
	//
	// A connection of a proxy may bring requests of several clients: each is handled as
	// its own client's, as long as a cookie, Authorization or another header tells them
	// apart. The context and the request that callbacks get of a later connect are those
	// of the earlier one with the same head, so that middleware must not take from a
	// request's body whom it is from. Zero: off.
	RepeatPolls bool

	// HandshakeTimeout bounds the context of what one handshake calls (the policy,
	// extensions and hooks), and how long a WebSocket may be without a session. Zero
	// means 10 s.
	HandshakeTimeout time.Duration
	// ReadTimeout bounds the reading of one request body. Zero means 30 s.
	ReadTimeout time.Duration
	// WriteTimeout bounds the writing of one reply or WebSocket frame. Zero
	// means 10 s.
	WriteTimeout time.Duration

	// AllowedOrigins lists origins ("https://example.com", with the port unless
	// it is the scheme's own) that may speak to the server besides its own
	// origin. There are no wildcards. Behind a proxy that rewrites Host, list
	// the public origin here. Requests without an Origin are not a browser's
	// cross-site requests and are let in.
	AllowedOrigins []string
	// AllowedHeaders lists the header fields that pages of AllowedOrigins may send
	// besides Content-Type, as Authorization: CometD's requestHeaders. There are no
	// wildcards.
	AllowedHeaders []string
	// CallbackPolling serves the callback-polling transport too: GET requests,
	// answered by a script, for pages whose browsers or proxies let nothing else
	// through. Pages of other origins than AllowedOrigins are told apart by the
	// Referer alone. Zero: off.
	CallbackPolling bool
	// SecureCookie puts Secure on the browser cookie even when the request did
	// not come by TLS: set it behind a TLS-terminating proxy. Zero: Secure only
	// on TLS requests.
	SecureCookie bool
	// CookieSameSite is the browser cookie's SameSite mode. Zero means Lax, with which
	// pages of another site (another registrable domain) never send the cookie back,
	// and have no session: where AllowedOrigins has such, it must be
	// http.SameSiteNoneMode, with which the cookie is Secure.
	CookieSameSite http.SameSite
	// InsecureTrustClientID lets the clientId alone speak for a session, for
	// clients that keep no cookies. Whoever learns a clientId can then take the
	// session over. Zero: the browser cookie, or the WebSocket the session lives
	// on, must match too.
	InsecureTrustClientID bool

	// Acknowledge serves CometD's acknowledge extension: a client that asks for it
	// in its handshake gets messages with connect replies alone, and again until
	// it says that it has them. What it has not acknowledged counts for MaxQueue.
	// Zero: such clients are served without it.
	Acknowledge bool

	// Broker carries broadcasts to the other nodes of a cluster. Nil means that
	// this server is all there is.
	Broker Broker

	// Policy decides who may do what. Nil means [DefaultPolicy].
	Policy SecurityPolicy
	// Logger gets refusals (debug) and faults of handlers and extensions
	// (error). Nil means [slog.Default].
	Logger *slog.Logger

	// Observer is told of what can be counted. Nil: nobody.
	Observer Observer

	// MaxBody bounds a request body and a WebSocket message, in bytes. Zero
	// means 512 KiB. Batches and handshakes may take all of it.
	MaxBody int
	// MaxPublication bounds the data of one message that a client publishes on a
	// broadcast channel, in bytes as it stands in JSON, and must not exceed
	// MaxQueueBytes. A client that may publish fills the queue of every subscriber
	// with MaxQueueBytes / MaxPublication messages, faster than slow ones read. Zero
	// means 64 KiB, or MaxQueueBytes if that is less.
	MaxPublication int
	// MaxBatch bounds the messages of one request. Zero means 1,000.
	MaxBatch int
	// MaxDepth bounds JSON nesting, counted from the batch's array: in what clients
	// send, and in what the server does. Zero means 16. It must not exceed 64, which
	// is what other nodes and our client read.
	MaxDepth int
	// MaxSubscriptions bounds one session's subscriptions, each of which takes about 260
	// bytes of memory. Zero means 1,000.
	MaxSubscriptions int
	// MaxSessions bounds the sessions of the server, those whose OnRemove functions
	// have not returned included, and its open WebSockets.
	// Zero means 100,000.
	MaxSessions int
	// MaxSessionsPerBrowser bounds the sessions of one browser cookie. Zero
	// means 256.
	MaxSessionsPerBrowser int
	// MaxPollsPerBrowser bounds the connects that are held at once for one browser
	// cookie over HTTP/1, where each takes one of the browser's few connections.
	// Further ones are answered at once, with the advice "multiple-clients" and to
	// wait for MultiSessionInterval. Zero means 4.
	MaxPollsPerBrowser int
	// MaxQueue and MaxQueueBytes bound what waits for one session, and with it a
	// response. Zero means 1,000 messages and 1 MiB. Our client reads responses of
	// up to [ClientConfig.MaxReply].
	MaxQueue      int
	MaxQueueBytes int
	// QueueFull says what becomes of a message that does not fit. Zero means
	// QueueDisconnect: the session is removed.
	QueueFull QueuePolicy
}

// withDefaults validates c and fills in its zero values.
func (c Config) withDefaults() (Config, error) {
	durations := []struct {
		name string
		v    *time.Duration
		def  time.Duration
	}{
		{"Timeout", &c.Timeout, defaultTimeout},
		{"Interval", &c.Interval, 0},
		{"MaxInterval", &c.MaxInterval, defaultMaxInterval},
		{"MultiSessionInterval", &c.MultiSessionInterval, defaultMultiInterval},
		{"MaxLazyTimeout", &c.MaxLazyTimeout, defaultMaxLazyTimeout},
		{"HandshakeSpread", &c.HandshakeSpread, 0},
		{"HandshakeTimeout", &c.HandshakeTimeout, defaultHandshakeTimeout},
		{"ReadTimeout", &c.ReadTimeout, defaultReadTimeout},
		{"WriteTimeout", &c.WriteTimeout, defaultWriteTimeout},
	}
	for _, d := range durations {
		if err := defaulted(d.name, d.v, d.def); err != nil {
			return c, err
		}
	}
	limits := []struct {
		name string
		v    *int
		def  int
	}{
		{"MaxBody", &c.MaxBody, defaultMaxBody},
		{"MaxBatch", &c.MaxBatch, defaultMaxBatch},
		{"MaxDepth", &c.MaxDepth, defaultMaxDepth},
		{"MaxSubscriptions", &c.MaxSubscriptions, defaultMaxSubscriptions},
		{"MaxSessions", &c.MaxSessions, defaultMaxSessions},
		{"MaxSessionsPerBrowser", &c.MaxSessionsPerBrowser, defaultMaxPerBrowser},
		{"MaxPollsPerBrowser", &c.MaxPollsPerBrowser, defaultMaxPolls},
		{"MaxQueue", &c.MaxQueue, defaultMaxQueue},
		{"MaxQueueBytes", &c.MaxQueueBytes, defaultMaxQueueBytes},
	}
	for _, l := range limits {
		if err := defaulted(l.name, l.v, l.def); err != nil {
			return c, err
		}
	}
	if err := defaulted("MaxPublication", &c.MaxPublication, min(defaultMaxPublication, c.MaxQueueBytes)); err != nil {
		return c, err
	}
	if c.MaxPublication > c.MaxQueueBytes {
		return c, errors.New("bayeux: MaxPublication exceeds MaxQueueBytes")
	}
	if c.MaxDepth > highestMaxDepth {
		return c, fmt.Errorf("bayeux: MaxDepth exceeds %d", highestMaxDepth)
	}
	if c.QueueFull < QueueDisconnect || c.QueueFull > QueueRefuse {
		return c, errors.New("bayeux: QueueFull is no queue policy")
	}
	for _, ch := range c.LazyChannels {
		if !validChannel(ch) {
			return c, fmt.Errorf("bayeux: LazyChannels: %q is not a channel", ch)
		}
	}
	for _, name := range c.AllowedHeaders {
		if !validHeaderName(name) {
			return c, fmt.Errorf("bayeux: AllowedHeaders: %q is not a header's name", name)
		}
	}
	if c.CookieSameSite == 0 {
		c.CookieSameSite = http.SameSiteLaxMode
	}
	if c.Policy == nil {
		c.Policy = DefaultPolicy{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	origins := make([]string, 0, len(c.AllowedOrigins))
	for _, o := range c.AllowedOrigins {
		canonical, ok := canonicalOrigin(o)
		if !ok {
			return c, fmt.Errorf("bayeux: AllowedOrigins: %q is not scheme://host[:port]", o)
		}
		origins = append(origins, canonical)
	}
	c.AllowedOrigins = origins
	return c, nil
}

// Limits and times above these could overflow when they are added up.
const (
	highestLimit    = 1 << 30
	highestDuration = 10 * 365 * 24 * time.Hour
)

func defaulted[T int | time.Duration](name string, v *T, def T) error {
	if *v < 0 {
		return errors.New("bayeux: " + name + " is negative")
	}
	switch v := any(*v).(type) {
	case int:
		if v > highestLimit {
			return fmt.Errorf("bayeux: %s exceeds %d", name, highestLimit)
		}
	case time.Duration:
		if v > highestDuration {
			return errors.New("bayeux: " + name + " exceeds ten years")
		}
	}
	if *v == 0 {
		*v = def
	}
	return nil
}
