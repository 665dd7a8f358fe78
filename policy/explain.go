package policy

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// Value is the effective value of one member of a rule, and who said it.
type Value struct {
	Attribute string // empty: the session
	Rule      string // the member, such as "ttl"
	// Value is a string, an int or a bool as in a policy file; nil: no such limit.
	Value  any
	Source Source
}

// Explain lists every member of every rule with its effective value: the
// session's first, then the attributes' by name. The ttl of an attribute that
// has none is the session's absolute.
func (p *Policy) Explain() []Value {
	out := values("", sessionMembers, p.session, p.sessionFrom)
	for _, name := range p.names {
		r := p.rules[name]
		effective := r.Rule
		effective.TTL = orDefault(r.TTL, p.session.Absolute)
		out = append(out, values(name, ruleMembers, effective, r.from)...)
	}
	return out
}

func values[R any](attribute string, members []member[R], r R, from sources) []Value {
	out := make([]Value, len(members))
	for i, m := range members {
		out[i] = Value{attribute, m.name, m.show(r), from[m.name]}
	}
	return out
}

// digest names the effective rules, wherever they were said: 12 characters, the
// first 9 bytes of the SHA-256 of what [Policy.Explain] lists.
func (p *Policy) digest() string {
	h := sha256.New()
	for _, v := range p.Explain() {
		fmt.Fprintf(h, "%s.%s=%v\n", v.Attribute, v.Rule, v.Value)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:9])
}
