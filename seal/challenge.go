package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"
)

// ChallengeLen is the length of every challenge, in characters.
const ChallengeLen = keyIDLen + 1 + 54

// labelChallenge keys the MAC of challenges; no envelope has this purpose.
const labelChallenge = "challenge"

// Challenge makes a text that a client signs to show that it has a key now
// (SPEC §10.2): a time and its MAC under a key of scope and session. No node has
// to remember it, and every node with the ring can check it. Two of one second
// are equal: it is fresh, not unique. It returns [ErrNoPrimary] if no key may
// seal at now.
func (r *Ring) Challenge(scope Scope, session ID, now time.Time) (string, error) {
	k, err := r.Primary(now)
	if err != nil {
		return "", err
	}
	raw, err := k.challenge(scope, session, uint64(max(now.Unix(), 0)))
	return k.id + "." + text64(raw), err
}

// ChallengeTime returns when a challenge of scope and session was made, in whole
// seconds by the clock of the node that made it; how old it may be is for the
// caller. Errors are [ErrMalformed], [ErrUnknownKey] and [ErrAuth].
func (r *Ring) ChallengeTime(scope Scope, session ID, text string) (time.Time, error) {
	if len(text) != ChallengeLen || text[keyIDLen] != '.' {
		return time.Time{}, ErrMalformed
	}
	raw, ok := decode64(text[keyIDLen+1:])
	if !ok {
		return time.Time{}, ErrMalformed
	}
	k, err := r.usable(text[:keyIDLen])
	if err != nil {
		return time.Time{}, err
	}
	made := binary.BigEndian.Uint64(raw)
	want, err := k.challenge(scope, session, made)
	if err != nil {
		return time.Time{}, err
	}
	if !hmac.Equal(raw, want) || made > math.MaxInt64 {
		return time.Time{}, ErrAuth
	}
	return time.Unix(int64(made), 0), nil
}

// challenge is a time, and the MAC that makes it a challenge.
func (k *Key) challenge(scope Scope, session ID, made uint64) ([]byte, error) {
	key, err := k.derive(scope, labelChallenge, session[:], sha256.Size)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	raw := binary.BigEndian.AppendUint64(nil, made)
	mac := hmac.New(sha256.New, key)
	mac.Write(raw)
	return mac.Sum(raw), nil
}
