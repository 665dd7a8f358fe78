package seal

import "errors"

// Errors of opening. Their text never holds input, keys or plaintext.
var (
	// ErrMalformed says that the input is not in our format: over a limit, not
	// canonical, not the header of the named key, or (after authentication)
	// claims that are not in their one spelling.
	ErrMalformed = errors.New("seal: malformed")
	// ErrUnknownKey says that the key ID is not in the ring, retired or revoked.
	ErrUnknownKey = errors.New("seal: unknown key")
	// ErrAuth says that authentication failed: a flipped bit, another
	// application, tenant, purpose or salt. One error for every cause.
	ErrAuth = errors.New("seal: authentication failed")
)

// Errors of sealing and of keyrings.
var (
	// ErrNoPrimary says that no key of the ring may seal at this time.
	ErrNoPrimary = errors.New("seal: the keyring has no primary key")
	// ErrExhausted says that a derived key reached its limit of 2^20 seals; take
	// a new [Sealer], which draws a new salt.
	ErrExhausted = errors.New("seal: derived key is exhausted")
	// ErrTooLarge says that an envelope would exceed its limit; see [Ring.WithMaxEnvelope].
	ErrTooLarge = errors.New("seal: envelope over the size limit")
	// ErrRing says that a keyring cannot be trusted or read; the message names
	// the path and the reason.
	ErrRing = errors.New("seal: keyring refused")
)
