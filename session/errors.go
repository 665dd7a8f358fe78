package session

import (
	"errors"
	"net/http"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// Refusals of a presented set, beside those of seal, policy and replay.
var (
	// ErrIncomplete says that set and manifest disagree: something is missing,
	// extra, exchanged, of another session or of another generation.
	ErrIncomplete = errors.New("session: set and manifest disagree")
	// ErrSuperseded says that the session has moved on since this set.
	ErrSuperseded = errors.New("session: superseded")
	// ErrRolledBack says that the set is older than a protected change.
	ErrRolledBack = errors.New("session: rolled back")
	// ErrRevoked says that the session was logged out.
	ErrRevoked = errors.New("session: revoked")
)

// Answers to the application.
var (
	// ErrNoAttribute says that the session has no such attribute now: never
	// set, deleted, expired or already taken.
	ErrNoAttribute = errors.New("session: no such attribute")
	// ErrTooLarge says that a value, or the session with it, is over the
	// policy's limit. Nothing was changed.
	ErrTooLarge = errors.New("session: over the policy's size limit")
	// ErrTooLate says that a session can't be started or renewed any more, nor a
	// [Stateless] one changed, because the response's header has been sent.
	ErrTooLate = errors.New("session: response already started")
	// ErrOtherStore says that a right was to be spent in a transaction of another
	// store than the manager's, which knows nothing of that. It is the caller's mistake.
	ErrOtherStore = errors.New("session: the transaction is of another store than the manager's")
	// ErrTooManyClients says that a session has as many clients as it may. Those that
	// left make room, at the latest when they lapse.
	ErrTooManyClients = errors.New("session: too many clients")
	// ErrEnded says that this session was logged out or has expired.
	ErrEnded = errors.New("session: ended")
	// ErrMoved says that the session lives on another node by now, or was renewed or
	// logged out there, which the store's word does not tell apart. The client should
	// repeat the request, with the cookie that it has by then.
	ErrMoved = errors.New("session: moved to another node")
)

// What the outside sees: one opaque refusal, or "try again", which says that we
// could not tell and that the same may succeed later. See [Outward].
var (
	ErrRejected    = errors.New("rejected")
	ErrUnavailable = errors.New("try again")
)

var refusals = []error{
	seal.ErrMalformed, seal.ErrUnknownKey, seal.ErrAuth,
	policy.ErrExpired, policy.ErrNotYetValid, policy.ErrBinding, policy.ErrNotAllowed,
	ErrIncomplete, ErrSuperseded, ErrRolledBack, ErrRevoked,
	replay.ErrReplayed, replay.ErrBeforeEpoch, replay.ErrBeyondHorizon,
}

// Outward maps an error of restoring or verifying to what may leave the server:
// nil, [ErrRejected] for every refusal, or [ErrUnavailable] when we could not
// tell. The reason belongs into the log only.
func Outward(err error) error {
	if err == nil {
		return nil
	}
	for _, refusal := range refusals {
		if errors.Is(err, refusal) {
			return ErrRejected
		}
	}
	return ErrUnavailable
}

// HTTPStatus is the status code that fits an error of this package: 200 for nil, 400
// for what is malformed, 401 for what [Outward] calls rejected and for a session that
// has ended, 409 where there is no such attribute, no key, or a right is spent, 413
// for what is too large, and otherwise 503.
func HTTPStatus(err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, ErrNoAttribute), errors.Is(err, ErrNoKey), errors.Is(err, replay.ErrReplayed):
		return http.StatusConflict
	case errors.Is(err, ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, seal.ErrMalformed):
		return http.StatusBadRequest
	case errors.Is(err, ErrEnded), Outward(err) == ErrRejected:
		return http.StatusUnauthorized
	}
	return http.StatusServiceUnavailable
}
