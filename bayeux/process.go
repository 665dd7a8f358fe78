package bayeux

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// exchange is the work on one HTTP request or one WebSocket message: a batch in,
// replies out.
type exchange struct {
	server  *Server
	ctx     context.Context
	req     *http.Request
	socket  *socket // nil for HTTP
	browser owner   // by the cookies, or one that this response sets

	greeting bool // there is a handshake in the batch
	greeted  bool // it was handled
	astray   bool // the WebSocket came too early: what it says is not answered
	replies  [][]byte

	cookieless  bool // a session's client does not send its cookie back
	subscribing int  // channels that were to be subscribed to so far

	carried *ServerSession // of the first connect: its messages alone are taken along
	hold    *poll          // the lone connect to be held, over HTTP
}

// run handles a batch in order. A connect is held only if it came alone, and
// nothing else is done in a batch with a handshake: which session the rest means
// would be a guess.
func (x *exchange) run(msgs []*Message) {
	x.server.observe(CountReceived, len(msgs))
	x.greeting = hasHandshake(msgs)
	now := time.Now()
	for _, m := range msgs {
		m.received = now
		x.handle(m, len(msgs) == 1)
	}
}

func (x *exchange) handle(m *Message, alone bool) {
	switch {
	case m.Channel == "":
		x.refuse(nil, m, errorChannelMissing)
		return
	case !validChannel(m.Channel):
		if len(m.Channel) > MaxChannelLength {
			m.sentOn = ""
		}
		x.refuse(nil, m, errorChannelInvalid)
		return
	case m.Channel == MetaHandshake:
		x.handshake(m)
		return
	case x.greeting:
		x.refuse(nil, m, errorWithHandshake)
		return
	}
	sess := x.resolve(m)
	if sess == nil {
		if !x.astray {
			x.unknown(m, false)
		}
		return
	}
	if !x.server.extendIncoming(x.ctx, sess, m) {
		x.refuse(sess, m, errorMessageDeleted)
		return
	}
	x.dispatch(sess, m, alone)
	if m.Channel != MetaConnect {
		sess.arm()
	}
}

func (x *exchange) dispatch(sess *ServerSession, m *Message, alone bool) {
	switch m.Channel {
	case MetaConnect:
		x.connect(sess, m, alone)
	case MetaDisconnect:
		x.disconnect(sess, m)
	case MetaSubscribe:
		x.subscribe(sess, m)
	case MetaUnsubscribe:
		x.unsubscribe(sess, m)
	default:
		x.publish(sess, m)
	}
}

// resolve finds the session m belongs to and checks that the sender is its
// client: by the WebSocket it lives on, or by the browser cookie.
func (x *exchange) resolve(m *Message) *ServerSession {
	sess := x.server.Session(m.ClientID)
	if sess == nil {
		return nil
	}
	sess.mu.Lock()
	here := x.socket != nil && sess.socket == x.socket
	sess.mu.Unlock()
	if !here && !x.server.cfg.InsecureTrustClientID && !x.browser.owns(sess) {
		x.server.cfg.Logger.Debug("bayeux: clientId from another browser")
		x.astray = x.astray || x.strays(sess)
		x.forgetCookieless(sess)
		return nil
	}
	return sess
}

// strays reports whether the sender is a WebSocket that came without a cookie for a
// session that was made by HTTP. Faye opens one while it shakes hands: it came too
// early for the handshake's cookie. Once for each session it is closed without an
// answer, and comes again with the cookie; a refusal could lose a subscription.
func (x *exchange) strays(sess *ServerSession) bool {
	if x.socket == nil || !x.socket.cookieless {
		return false
	}
	sess.mu.Lock()
	defer sess.mu.Unlock()
	first := !sess.strayed
	sess.strayed = true
	return first
}

// forgetCookieless removes a session whose client does not send its browser's cookie
// back: it never will, and would shake hands again and again.
func (x *exchange) forgetCookieless(sess *ServerSession) {
	if x.socket != nil || x.browser.id != "" {
		return
	}
	x.cookieless = true
	sess.mu.Lock()
	begun := sess.connected
	sess.mu.Unlock()
	if !begun {
		x.server.remove(sess, pollLost, CountEnded)
	}
}

// reply starts the answer to m, which names the client it goes to; nil if there
// is none.
func reply(to *ServerSession, m *Message) *Message {
	r := &Message{Channel: m.sentOn, ID: m.ID, Successful: ptr(true), request: m}
	if to != nil {
		r.ClientID = to.id
	}
	return r
}

func (x *exchange) answer(to *ServerSession, m *Message) {
	if b := x.server.render(to, m); b != nil {
		x.replies = append(x.replies, b)
	}
}

func (x *exchange) refuse(to *ServerSession, m *Message, errorText string) {
	x.server.observe(CountRefused, 1)
	r := reply(to, m)
	r.Successful, r.Error = ptr(false), errorText
	if m.Channel == MetaSubscribe || m.Channel == MetaUnsubscribe {
		r.Subscription, r.subscriptionList = m.Subscription, m.subscriptionList
	}
	x.answer(to, r)
}

// cookielessInterval is how long a client waits that sends no cookie, before it shakes
// hands again.
const cookielessInterval = 5 * time.Second

// unknown answers 402. Only a connect is told to shake hands: clients keep the
// last advice they saw, and one that follows it into a successful connect can
// stall.
//
// A client that was dismissed while its connect came in is told to give up.
func (x *exchange) unknown(m *Message, dismissed bool) {
	x.server.observe(CountRefused, 1)
	r := reply(nil, m)
	r.Successful, r.Error = ptr(false), errorSessionUnknown
	switch {
	case dismissed:
		r.Advice = &Advice{Reconnect: ReconnectNone}
	case m.Channel == MetaConnect:
		r.Advice = x.server.handshakeAdvice()
		if x.cookieless {
			*r.Advice.Interval = max(*r.Advice.Interval, cookielessInterval.Milliseconds())
		}
	}
	x.answer(nil, r)
}

func (x *exchange) handshake(m *Message) {
	s := x.server
	if x.greeted {
		// One request, one handshake: each may cost its hooks much.
		x.refuse(nil, m, errorHandshakeDenied)
		return
	}
	x.greeted = true
	ctx, cancel := context.WithTimeout(x.ctx, s.cfg.HandshakeTimeout)
	defer cancel()
	if !s.extendIncoming(ctx, nil, m) {
		x.refuse(nil, m, errorMessageDeleted)
		return
	}
	r := reply(nil, m)
	r.Version = "1.0"
	r.SupportedConnectionTypes = s.connectionTypes()
	h := &Handshake{Request: m, Reply: r, HTTP: x.req}
	switch {
	case !speaks(m):
		h.Refuse(errorVersion, Advice{})
	case !common(m.SupportedConnectionTypes, r.SupportedConnectionTypes):
		h.Refuse(errorConnectionType, Advice{})
	case !s.allowed(func() bool { return s.cfg.Policy.CanHandshake(ctx, x.req, m) }):
		h.Refuse(errorHandshakeDenied, denial(ctx))
	}
	if h.refused {
		x.deny(r)
		return
	}
	sess, ok := s.admit(x.browser.id)
	if !ok {
		h.Refuse(errorTooManySessions, Advice{Reconnect: ReconnectHandshake, Interval: ptr[int64](5000)})
		x.deny(r)
		return
	}
	h.Session = sess
	r.ClientID = sess.id
	if s.cfg.Acknowledge && wantsAck(m) {
		sess.ack = new(acknowledgement)
		_ = r.SetExt(extAck, true)
	}
	r.Advice = s.retryAdvice()
	s.runHandshakeHooks(ctx, h)
	if h.refused {
		s.remove(sess, pollDisconnect, CountEnded)
		x.deny(r)
		return
	}
	if x.socket != nil {
		x.socket.adopt(sess)
	}
	x.answer(sess, r)
	sess.arm()
}

// denial is the advice of a policy that said no: to stop, unless its time was over,
// which says nothing about the client.
func denial(ctx context.Context) Advice {
	if ctx.Err() != nil {
		return Advice{Reconnect: ReconnectHandshake, Interval: ptr[int64](5000)}
	}
	return Advice{}
}

func (x *exchange) deny(r *Message) {
	x.server.observe(CountDenied, 1)
	x.answer(nil, r)
}

func (s *Server) connectionTypes() []string {
	if s.cfg.CallbackPolling {
		return []string{WebSocket, LongPolling, CallbackPolling}
	}
	return []string{WebSocket, LongPolling}
}

// speaks reports whether the client can do with version 1.0.
func speaks(m *Message) bool {
	major, _, _ := strings.Cut(m.Version, ".")
	if major != "1" {
		return false
	}
	lowest := m.MinimumVersion
	return lowest == "" || strings.HasPrefix(lowest, "0.") || strings.HasPrefix(lowest, "1.0") || lowest == "1"
}

func common(theirs, ours []string) bool {
	for _, t := range theirs {
		for _, o := range ours {
			if t == o {
				return true
			}
		}
	}
	return false
}

// allowed asks a policy; one that panics has denied.
func (s *Server) allowed(ask func() bool) (yes bool) {
	s.safely("policy", func() { yes = ask() })
	return yes
}

// connect answers, or parks, a /meta/connect. An earlier one that is still held
// ends first: it belongs to a page or connection that is no more.
//
// One connect of a batch takes messages along. A client needs no more, and a batch
// of them would fetch a queue each, or the same one again and again.
func (x *exchange) connect(sess *ServerSession, m *Message, alone bool) {
	timeout := x.server.cfg.Timeout
	if m.Advice != nil && m.Advice.Timeout != nil {
		timeout = millis(*m.Advice.Timeout, timeout)
	}
	if !alone {
		timeout = 0
	}
	sess.acknowledge(m)
	p := &poll{session: sess, channel: m.sentOn, id: m.ID, request: m, socket: x.socket, bare: x.carried != nil}

	sess.mu.Lock()
	if sess.removed {
		dismissed := sess.dismissed
		sess.mu.Unlock()
		x.unknown(m, dismissed)
		return
	}
	old := sess.takePoll(pollReplaced)
	first := !sess.connected
	sess.connected = true
	left := sess.move(x.socket)
	// The replaced connect's reply may bring its advice to this very client.
	if first || sess.adviceDue || old != nil || (m.Advice != nil && m.Advice.Timeout != nil) {
		p.advice = x.server.retryAdvice()
	}
	sess.adviceDue = old != nil
	held := !first && timeout > 0 && !sess.pressing(x.socket)
	if held && x.crowded(p, old) {
		held = false
		p.advice = x.server.pollAdvice()
		sess.adviceDue = true // if it may be held again
	}
	sess.interval = x.server.cfg.Interval
	if p.advice != nil {
		sess.interval = time.Duration(*p.advice.Interval) * time.Millisecond
	}
	if held {
		p.request = p.request.waiting() // it waits along
		if len(x.server.extensions) == 0 && len(sess.ownExtensions()) == 0 {
			p.request = nil // and nobody asks for it
		}
		sess.poll = p
		sess.wakeIn(timeout)
		if x.socket == nil {
			p.wake = make(chan struct{})
		}
	}
	sess.mu.Unlock()

	if left != nil {
		left.abort()
	}
	old.finish()
	if x.socket != nil {
		x.socket.bind(sess)
	}
	if !p.bare {
		x.carried = sess
	}
	switch {
	case !held:
		sess.arm()
		x.replies = append(x.replies, p.answer()...)
	case x.socket == nil:
		x.hold = p
	}
}

// crowded reports whether p's browser holds as many connects as it may. A connect
// that takes the place of another takes over its count. Over HTTP/2 and on
// WebSockets a connect that waits keeps no other request from coming.
func (x *exchange) crowded(p, old *poll) bool {
	if x.socket != nil || x.req.ProtoMajor > 1 {
		return false
	}
	if old != nil && old.counted {
		old.counted, p.counted = false, true
		return false
	}
	p.counted = x.server.holdPoll(p.session.browser)
	return !p.counted
}

// wait holds the request's own goroutine until the connect ends. It reports false
// if the client went away meanwhile.
func (p *poll) wait(ctx context.Context) bool {
	select {
	case <-p.wake:
	case <-ctx.Done():
		p.session.endPoll(p, pollGone)
		<-p.wake
	}
	return ctx.Err() == nil
}

// release gives back what the connect had, once it ended.
func (p *poll) release() {
	p.session.uncount(p)
	p.session.arm()
}

// response is what the client gets: messages that wait for it, and the reply.
func (p *poll) response() [][]byte {
	reply := p.answer()
	if p.why == pollReplaced {
		return reply // what waits is for the connect that replaced this one
	}
	news, _ := p.session.take(nil, p.session.server.cfg.MaxQueueBytes)
	return append(news, reply...)
}

func (x *exchange) disconnect(sess *ServerSession, m *Message) {
	x.answer(sess, reply(sess, m))
	x.server.remove(sess, pollDisconnect, CountDisconnected)
}

func (x *exchange) subscribe(sess *ServerSession, m *Message) {
	if text := x.checkSubscription(sess, m); text != "" {
		x.refuse(sess, m, text)
		return
	}
	channels := make([]string, 0, len(m.Subscription))
	for _, ch := range m.Subscription {
		// Service messages go to their handler and to one session each: there
		// is nothing to record.
		if isBroadcast(ch) {
			channels = append(channels, ch)
		}
	}
	if !x.server.registry.add(sess, channels, x.server.cfg.MaxSubscriptions) {
		x.refuse(sess, m, errorSubscribeFailed)
		return
	}
	x.answerSubscription(sess, m)
}

// checkSubscription returns the error text of the first channel that may not be
// subscribed to, or "": all of a message's channels count, or none.
func (x *exchange) checkSubscription(sess *ServerSession, m *Message) string {
	if len(m.Subscription) == 0 {
		return errorSubscriptionMissing
	}
	// Each channel may cost its policy much: so many in a request, and none twice.
	x.subscribing += len(m.Subscription)
	if x.subscribing > x.server.cfg.MaxSubscriptions {
		m.Subscription = nil
		return errorSubscribeFailed
	}
	for _, ch := range m.Subscription {
		if !validChannel(ch) {
			m.Subscription = nil
			return errorSubscriptionInvalid
		}
	}
	policy := x.server.cfg.Policy
	asked := make(map[string]struct{}, len(m.Subscription))
	for _, ch := range m.Subscription {
		if _, twice := asked[ch]; twice {
			continue
		}
		asked[ch] = struct{}{}
		if isMeta(ch) {
			return errorSubscribeDenied
		}
		if !x.server.registry.has(ch) && !x.mayCreate(sess, ch, m) {
			return errorCreateDenied
		}
		if !x.server.allowed(func() bool { return policy.CanSubscribe(x.ctx, sess, ch, m) }) ||
			!x.authorized(OperationSubscribe, ch, sess, m) {
			return errorSubscribeDenied
		}
	}
	return ""
}

func (x *exchange) unsubscribe(sess *ServerSession, m *Message) {
	if len(m.Subscription) == 0 {
		x.refuse(sess, m, errorSubscriptionMissing)
		return
	}
	if len(m.Subscription) > x.server.cfg.MaxSubscriptions {
		m.Subscription = nil
		x.refuse(sess, m, errorSubscriptionInvalid)
		return
	}
	for _, ch := range m.Subscription {
		if !validChannel(ch) {
			m.Subscription = nil
			x.refuse(sess, m, errorSubscriptionInvalid)
			return
		}
	}
	x.server.registry.drop(sess, m.Subscription)
	x.answerSubscription(sess, m)
}

func (x *exchange) answerSubscription(sess *ServerSession, m *Message) {
	r := reply(sess, m)
	r.Subscription, r.subscriptionList = m.Subscription, m.subscriptionList
	x.answer(sess, r)
}

func (x *exchange) publish(sess *ServerSession, m *Message) {
	if text := x.checkPublication(sess, m); text != "" {
		x.refuse(sess, m, text)
		return
	}
	r := reply(sess, m)
	if isService(m.Channel) {
		if f := x.server.serviceHandler(m.Channel); f != nil {
			if !x.server.safely("service handler", func() { f(x.ctx, sess, m) }) {
				x.refuse(sess, m, errorHandlerFailed)
				return
			}
		}
	} else {
		// The receivers get channel and data: ids and ext are between one client
		// and the server.
		err := x.server.broadcast(&Message{Channel: m.Channel, Data: m.Data, Lazy: x.server.isLazy(m.Channel), request: m})
		if errors.Is(err, ErrChannel) {
			x.refuse(sess, m, errorChannelInvalid)
			return
		}
		if err != nil {
			x.refuse(sess, m, errorTooLarge)
			return
		}
	}
	x.answer(sess, r)
}

func (x *exchange) checkPublication(sess *ServerSession, m *Message) string {
	policy, ch := x.server.cfg.Policy, m.Channel
	switch {
	case isMeta(ch):
		return errorCreateDenied
	case isWild(ch), !validChannel(ch): // an extension may have changed it
		return errorChannelInvalid
	case m.Data == nil:
		return errorDataMissing
	case isBroadcast(ch) && len(m.Data) > x.server.cfg.MaxPublication:
		return errorTooLarge
	case isBroadcast(ch) && !x.server.registry.has(ch) && !x.mayCreate(sess, ch, m):
		return errorCreateDenied
	case !x.server.allowed(func() bool { return policy.CanPublish(x.ctx, sess, ch, m) }),
		!x.authorized(OperationPublish, ch, sess, m):
		return errorPublishDenied
	}
	return ""
}

func (x *exchange) mayCreate(sess *ServerSession, ch string, m *Message) bool {
	return x.server.allowed(func() bool { return x.server.cfg.Policy.CanCreate(x.ctx, sess, ch, m) }) &&
		x.authorized(OperationCreate, ch, sess, m)
}
