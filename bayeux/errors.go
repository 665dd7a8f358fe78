package bayeux

import (
	"errors"
	"strconv"
	"strings"
)

// Errors a caller can branch on.
var (
	// ErrSessionClosed: the session was removed; nothing more can be delivered.
	ErrSessionClosed = errors.New("bayeux: session closed")
	// ErrQueueFull: the session's queue is over its limit; the session was
	// removed, and its client must shake hands again.
	ErrQueueFull = errors.New("bayeux: session queue full")
	// ErrTooLarge: the message is longer than an empty queue holds
	// (Config.MaxQueueBytes), nested deeper than Config.MaxDepth, or has more than 64
	// members of ext. Nobody got it.
	ErrTooLarge = errors.New("bayeux: message too large")
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("bayeux: client closed")
	// ErrNotConnected: the client has no connection, and none came in time.
	ErrNotConnected = errors.New("bayeux: client not connected")
)

// Error texts of the protocol, as CometD writes them.
const (
	errorChannelMissing      = "400::channel_missing"
	errorDataMissing         = "400::data_missing"
	errorVersion             = "400::version_unsupported"
	errorWithHandshake       = "400::not_with_a_handshake"
	errorSessionUnknown      = "402::session_unknown"
	errorHandshakeDenied     = "403::handshake_denied"
	errorSubscriptionMissing = "403::subscription_missing"
	errorSubscriptionInvalid = "403::subscription_invalid"
	errorSubscribeFailed     = "403::subscribe_failed"
	errorCreateDenied        = "403:denied_by_security_policy:create_denied"
	errorSubscribeDenied     = "403:denied_by_security_policy:subscribe_denied"
	errorPublishDenied       = "403:denied_by_security_policy:publish_denied"
	errorMessageDeleted      = "404::message_deleted"
	errorChannelInvalid      = "405::channel_invalid"
	errorTooLarge            = "413::message_too_large"
	errorConnectionType      = "301::connection_types_unsupported"
	errorConnectReplaced     = "409::connect_replaced"
	errorHandlerFailed       = "500::handler_failed"
	errorTooManySessions     = "503::too_many_sessions"
)

// Error is a peer's refusal of one message.
type Error struct {
	// Channel is the channel of the refused message.
	Channel string
	// Text is the peer's "code:arguments:text", cut to a bounded length. It is
	// a stranger's text.
	Text string
	// Advice is what the peer advised, or nil.
	Advice *Advice
}

func (e *Error) Error() string {
	return "bayeux: " + e.Channel + " refused: " + strconv.Quote(e.Text)
}

// Code is the number Text starts with, or 0. Its meaning differs between
// servers: 402 is "unknown client" to CometD and "missing parameter" to Faye.
func (e *Error) Code() int {
	head, _, _ := strings.Cut(e.Text, ":")
	n, err := strconv.Atoi(head)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

const maxErrorText = 256

// refusal makes an Error of an unsuccessful reply.
func refusal(m *Message) *Error {
	text := m.Error
	if len(text) > maxErrorText {
		text = text[:maxErrorText]
	}
	ch := m.Channel
	if len(ch) > MaxChannelLength {
		ch = ch[:MaxChannelLength]
	}
	return &Error{Channel: ch, Text: text, Advice: m.Advice}
}
