package bayeux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// The defaults of [ClientConfig].
const (
	defaultBackoff        = 500 * time.Millisecond
	defaultMaxBackoff     = 30 * time.Second
	defaultRequestTimeout = 10 * time.Second
	defaultMaxReply       = 4 << 20
	defaultMaxPending     = 4096
)

// ClientConfig configures a [Client]. Its zero value is a safe default. A number above
// 2^30 or a time above ten years is refused, as a negative one is.
type ClientConfig struct {
	// HTTPClient sends the requests. Nil means a new one with its own cookie
	// jar. The client works on a copy without Timeout, which would cut held
	// requests; if Jar is nil the copy gets an empty one, of 50 cookies at most,
	// as servers bind clients to cookies. WebSockets use the same Jar and, if Transport is an
	// *http.Transport (or nil), its dialer and TLS configuration; they are not
	// tried with another RoundTripper or through a proxy. Both transports send the
	// same cookies.
	HTTPClient *http.Client
	// Header is sent with each request and upgrade, as Authorization or Origin.
	Header http.Header
	// Transports are tried in this order. Nil means WebSocket, then LongPolling.
	Transports []string
	// Acknowledge asks the server to send again what the client did not get, as
	// CometD's acknowledge extension does: a message that was on a connection when
	// it died then comes over the next one. It may come twice. Servers without the
	// extension go on without it, and a new session starts anew.
	Acknowledge bool
	// Extensions see every message; see [ClientExtension].
	Extensions []ClientExtension
	// Backoff is the wait after a first failure; it doubles, with jitter, up to
	// MaxBackoff. Zero means 500 ms and 30 s.
	Backoff    time.Duration
	MaxBackoff time.Duration
	// RequestTimeout bounds each exchange, on top of the time the server holds a
	// connect, and the time a call waits for a lost connection to come back.
	// Zero means 10 s.
	RequestTimeout time.Duration
	// MaxReply bounds one HTTP response or WebSocket message, in bytes. A longer one
	// ends the connection and, with Acknowledge, the session: the server would send
	// it again. Zero means 4 MiB.
	MaxReply int
	// MaxPending bounds the messages that wait for their handlers, and four times
	// MaxReply what they take in memory, in bytes. When handlers fall behind
	// further, the connection is given up and made anew. Zero means 4,096.
	MaxPending int
	// Logger gets what a caller cannot be told otherwise: panics, subscriptions
	// that a new session refused, and deliveries that were left out since they are
	// no JSON of the strict kind, nested more than 62 deep, or of more than 64
	// members. Nil means [slog.Default].
	Logger *slog.Logger
}

// ClientExtension sees every message of a [Client]: handshakes, connects, their
// replies, and deliveries whether subscribed to or not. Incoming is called in
// the order of the configuration, Outgoing in the reverse order; each is called
// by one goroutine at a time. False deletes the message. An extension must not
// wait for the client's own calls, and one that panics counts as one that
// returned false. One that ends its goroutine, as t.FailNow does, ends the
// connection or the call of the client that it works for.
type ClientExtension interface {
	Incoming(m *Message) bool
	Outgoing(m *Message) bool
}

// ClientState is where a [Client] stands.
type ClientState int

// The states of a client.
const (
	StateIdle        ClientState = iota // Connect was not called, or failed
	StateHandshaking                    // asking for a session
	StateConnected                      // a connect succeeded
	StateBroken                         // the connection failed; trying again
	StateClosed                         // for good: Close, or the server's advice
)

func (s ClientState) String() string {
	names := [...]string{"idle", "handshaking", "connected", "broken", "closed"}
	if s < 0 || int(s) >= len(names) {
		return "ClientState(" + strconv.Itoa(int(s)) + ")"
	}
	return names[s]
}

// Client is a Bayeux client. It is safe for concurrent use.
type Client struct {
	cfg      ClientConfig
	endpoint *url.URL
	http     *http.Client
	inMu     sync.Mutex // one Incoming at a time
	outMu    sync.Mutex // one Outgoing at a time
	events   dispatcher
	life     context.Context // ends with Close
	end      context.CancelFunc

	mu        sync.Mutex
	state     ClientState
	changed   chan struct{} // closed, and made anew, at each change of state
	id        string
	link      link
	types     []string // connection types the server listed
	interval  time.Duration
	timeout   time.Duration
	subs      map[string][]*handler
	listeners []func(ClientState)
	cancel    context.CancelFunc
	done      chan struct{} // closed when the loop has ended
	closing   bool
	cause     error // why the state is closed
	lastID    uint64
	ack       acknowledged
	skipped   skipped

	handled atomic.Uint64 // deliveries that found a handler
}

// NewClient checks cfg and returns a client for the server at rawURL, an http
// or https URL. A host name that is not ASCII is refused: write it in its form for
// DNS, as xn--bcher-kva.example (RFC 5890, section 2.3.2.1). It does nothing until
// [Client.Connect].
func NewClient(rawURL string, cfg ClientConfig) (*Client, error) {
	u, err := url.Parse(rawURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("bayeux: URL is not http://host… or https://host…")
	}
	if strings.ContainsFunc(u.Host, func(r rune) bool { return r > unicode.MaxASCII }) {
		return nil, errors.New("bayeux: the URL's host is not ASCII: write it in its xn-- form")
	}
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	hc, err := ownHTTPClient(cfg.HTTPClient)
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg:      cfg,
		endpoint: u,
		http:     hc,
		changed:  make(chan struct{}),
		timeout:  defaultTimeout,
		subs:     make(map[string][]*handler),
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.events.limit, c.events.maxBytes = cfg.MaxPending, maxPendingReplies*min(cfg.MaxReply, math.MaxInt/maxPendingReplies)
	c.events.logger = cfg.Logger
	return c, nil
}

func (c ClientConfig) withDefaults() (ClientConfig, error) {
	if c.Transports == nil {
		c.Transports = []string{WebSocket, LongPolling}
	}
	if len(c.Transports) == 0 {
		return c, errors.New("bayeux: no transport")
	}
	for _, t := range c.Transports {
		if t != WebSocket && t != LongPolling {
			return c, fmt.Errorf("bayeux: unknown transport %q", t)
		}
	}
	c.Transports = slices.Clone(c.Transports)
	c.Extensions = slices.Clone(c.Extensions)
	c.Header = c.Header.Clone()
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, errors.Join(
		defaulted("Backoff", &c.Backoff, defaultBackoff),
		defaulted("MaxBackoff", &c.MaxBackoff, defaultMaxBackoff),
		defaulted("RequestTimeout", &c.RequestTimeout, defaultRequestTimeout),
		defaulted("MaxReply", &c.MaxReply, defaultMaxReply),
		defaulted("MaxPending", &c.MaxPending, defaultMaxPending),
	)
}

func ownHTTPClient(given *http.Client) (*http.Client, error) {
	own := new(http.Client)
	if given != nil {
		*own = *given
	}
	own.Timeout = 0
	if own.CheckRedirect == nil { // messages, and what extensions put into them, are for this server alone
		own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	if own.Jar == nil {
		jar, err := newBoundedJar()
		if err != nil {
			return nil, err
		}
		own.Jar = jar
	}
	return own, nil
}

// ID returns the clientId of the current session, or "".
func (c *Client) ID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

// State returns where the client stands now.
func (c *Client) State() ClientState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// OnState calls f at each change of state, in order and between messages.
func (c *Client) OnState(f func(ClientState)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners = append(c.listeners, f)
}

// Connect shakes hands and makes the first connect, once over each transport.
// When it returns nil the client is connected, and stays so by itself until
// [Client.Close] or until the server tells it to stop. ctx is for this call
// only.
//
// It returns an error wrapping [*Error] if the server refused, or [ErrClosed].
// After another error Connect may be called again.
func (c *Client) Connect(ctx context.Context) error {
	c.mu.Lock()
	if c.closing || c.state == StateClosed {
		c.mu.Unlock()
		return ErrClosed
	}
	if c.cancel != nil {
		c.mu.Unlock()
		return errors.New("bayeux: Connect called twice")
	}
	loopCtx, cancel := context.WithCancel(c.life)
	c.cancel = cancel
	c.mu.Unlock()
	// Close during Connect must end it too.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(loopCtx, stop)()

	err := c.start(ctx)
	c.mu.Lock()
	closing := c.closing
	if err == nil && !closing {
		c.done = make(chan struct{})
		go c.keep(loopCtx, c.done)
		c.mu.Unlock()
		return nil
	}
	c.cancel, c.id = nil, ""
	c.mu.Unlock()
	cancel()
	c.dropLink()
	if closing {
		return ErrClosed
	}
	c.setState(StateIdle, nil)
	return err
}

// Subscribe calls f for each message on channel, which may be a wildcard.
// Handlers of one client are called one at a time, in the order of the
// messages; they may call the client's methods. A panic or runtime.Goexit in one, as by
// t.FailNow, is logged and ends that call alone. The subscription outlives the
// server's session: it is renewed after each handshake. Before Connect it is
// only noted down.
//
// It returns an error wrapping [ErrChannel], [*Error], [ErrNotConnected] or
// [ErrClosed]; f is then not registered.
func (c *Client) Subscribe(ctx context.Context, channel string, f func(*Message)) error {
	return c.Batch(ctx, func(b *Batch) { b.Subscribe(channel, f) })
}

// Unsubscribe drops all handlers of channel.
func (c *Client) Unsubscribe(ctx context.Context, channel string) error {
	return c.Batch(ctx, func(b *Batch) { b.Unsubscribe(channel) })
}

// Publish sends data on channel and waits for the server's word. data is
// encoded as by [ServerSession.Deliver].
//
// While the connection is down it waits for another, as long as ctx and
// [ClientConfig.RequestTimeout] let it. A message that the server refused
// because it did not know the session is sent again, once, after the new
// handshake; after any other failure the message may or may not have arrived.
//
// It returns an error wrapping [ErrChannel], [*Error], [ErrNotConnected] or
// [ErrClosed].
func (c *Client) Publish(ctx context.Context, channel string, data any) error {
	return c.Batch(ctx, func(b *Batch) { b.Publish(channel, data) })
}

// PublishMessage is Publish for a message with Ext. Channel, Data and Ext are sent,
// whatever else m holds is not. m is not changed, and may be changed afterwards.
func (c *Client) PublishMessage(ctx context.Context, m *Message) error {
	return c.Batch(ctx, func(b *Batch) { b.PublishMessage(m) })
}

// Close says good-bye to the server, as far as ctx allows, and ends the client
// for good. Handlers that run are not waited for, and none is called any more:
// what waits for them is dropped. Only the listeners of [Client.OnState] hear of
// the end, and of nothing else meanwhile: no handshake is begun any more.
//
// It returns an error if the server did not answer in time. A second call returns
// nil at once.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return nil
	}
	c.closing = true
	l, id, connected := c.link, c.id, c.state == StateConnected
	cancel, done := c.cancel, c.done
	c.mu.Unlock()

	var err error
	if connected && l != nil {
		bye := &Message{Channel: MetaDisconnect, ClientID: id, ID: c.newID()}
		bctx, stop := context.WithTimeout(ctx, c.cfg.RequestTimeout)
		_, err = c.exchange(bctx, l, []*Message{bye})
		stop()
	}
	if cancel != nil {
		cancel()
	}
	c.end()
	c.events.close()
	c.dropLink()
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
			err = errors.Join(err, ctx.Err())
		}
	}
	c.setState(StateClosed, ErrClosed)
	return err
}

func (c *Client) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

func (c *Client) newID() jsontext.Value {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID++
	return jsontext.Value(strconv.AppendQuote(nil, strconv.FormatUint(c.lastID, 36)))
}

// setState tells the listeners of a change. Once Close has begun nothing else is one.
func (c *Client) setState(s ClientState, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == s || c.state == StateClosed || c.closing && s != StateClosed {
		return
	}
	c.state = s
	if s == StateClosed {
		c.cause = cause
		c.id = ""
	}
	close(c.changed)
	c.changed = make(chan struct{})
	for _, f := range c.listeners {
		c.events.add(event{f: func() { f(s) }})
	}
}

func (c *Client) dropLink() {
	c.mu.Lock()
	l := c.link
	c.link = nil
	c.mu.Unlock()
	if l != nil {
		l.close()
	}
}
