package session

import (
	"fmt"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
)

// What claims and manifest have beside their texts, at most: SPEC §4 and §5.
const (
	claimsBytes   = len(`{"jti":"","iat":1234567890,"exp":1234567890,"axp":1234567890,"sid":"","gen":1234567890123456,"name":"","pv":"","val":}`) + 2*22
	onceBytes     = len(`,"uid":"","once":true`) + 22
	padBytes      = len(`,"pad":1234567`)
	manifestBytes = len(`{"sid":"","sub":"","sat":1234567890,"fence":1234567890123456,"gen":1234567890123456,"iat":1234567890,"exp":1234567890,"axp":1234567890,"bnd":"","pv":"","set":[]}`) + 22
	entryBytes    = len(`{"slot":"","jti":"","exp":1234567890},`) + seal.SlotLen + 22
)

// laterBytes is kept of a handshake for what a login and a key add to the
// manifest after the attributes were set.
const laterBytes = 2 << 10

// sealedFits refuses a value of n bytes with which the sealed set would be over
// the limit of what restores it; padding can make that much more than the sum of
// the values. It is told the worst of the two profiles, so that it refuses at
// most 70 characters an attribute too early, and never too late. s.mu is held.
func (s *Session) sealedFits(rule policy.Rule, n int) error {
	limit := MaxHandshake - laterBytes
	if s.visit != nil {
		limit = s.visit.st.maxText
	}
	total, entries := 0, 0
	add := func(rule policy.Rule, n int) {
		if rule.Authority != policy.AuthorityServer {
			total, entries = total+s.m.sealedLen(rule, n), entries+1
		}
	}
	add(rule, n)
	for name, a := range s.attrs {
		if name != rule.Name {
			other, _ := s.m.cfg.Policy.Rule(name)
			add(other, len(a.value))
		}
	}
	subject := 2 * len(s.login.subject) // each of its bytes may be escaped
	binding := len(joinBinding(s.binding, s.key))
	total += seal.EnvelopeLen(seal.A256CBCHS512, manifestBytes+subject+binding+len(s.m.cfg.Policy.Version())+entries*entryBytes, 0)
	if total > limit {
		return fmt.Errorf("%w: a set of %d characters with %s, the limit is %d", ErrTooLarge, total, rule.Name, limit)
	}
	return nil
}

// sealedLen is what an attribute with a value of n bytes takes of a set's text.
func (m *Manager) sealedLen(rule policy.Rule, n int) int {
	n += claimsBytes + len(rule.Name) + len(m.cfg.Policy.Version())
	if rule.Once {
		n += onceBytes
	}
	pad := padding(rule)
	if pad != 0 {
		n += padBytes
	}
	return 1 + seal.SlotLen + seal.EnvelopeLen(seal.A256CBCHS512, n, pad)
}
