// Package policy says which attributes a session may have, for how long, and
// what happens when one is past its time.
//
// Write rules as a JSON file and [Parse] it, or build them with [New]. Then
// [Policy.Judge] and [Policy.JudgeSession] turn facts into a decision with
// reasons. They are pure: no clock, no I/O, nothing of ours imported; the
// caller brings the time and has already authenticated what it asks about.
//
// The policy is judged again each time a set is opened, so that a rule made
// stricter today holds for what was sealed yesterday. Only an attribute's idle
// limit is the one of its sealing: when it was last used is not in the seal.
package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"time"
)

// Errors that a [Violation] wraps: authentic, but not acceptable.
var (
	ErrExpired     = errors.New("policy: expired")
	ErrNotYetValid = errors.New("policy: not yet valid")
	ErrBinding     = errors.New("policy: not the holder this was sealed for")
	ErrNotAllowed  = errors.New("policy: not allowed")
	// ErrPolicy says that a policy contradicts itself or can't be read.
	ErrPolicy = errors.New("policy: refused")
)

// Action is what a rule asks for when an attribute can't be restored.
type Action uint8

// The actions. The zero Action drops the attribute and lets the session go on.
const (
	Drop Action = iota
	Refuse
)

// String returns "drop" or "refuse", as in a policy file.
func (a Action) String() string {
	if a == Refuse {
		return "refuse"
	}
	return "drop"
}

// Rule governs one attribute. All durations are whole seconds.
type Rule struct {
	// Name is the attribute: a lower-case letter, then up to 63 of [a-z0-9_.-].
	Name string
	// TTL counts from when the value was set. Zero: as long as the session.
	// A once-only attribute needs one, of at most 24 hours.
	TTL time.Duration
	// Idle counts from the last use. Zero: no such limit.
	Idle time.Duration
	// Absolute counts from the attribute's first setting and is not moved by
	// setting it again. Zero: no such limit.
	Absolute time.Duration
	// Once makes the attribute a right that is spent at most once.
	Once bool
	// Required refuses a set that lacks the attribute, or in which it can't
	// be restored.
	Required bool
	// OnExpiry says what happens to the set when the attribute is expired.
	OnExpiry Action
	// MaxBytes limits the encoded value. Zero: [DefaultMaxBytes].
	MaxBytes int
}

// SessionRule governs the session as a whole.
type SessionRule struct {
	// Idle ends a session that nobody used; required.
	Idle time.Duration
	// Absolute ends it in any case; required.
	Absolute time.Duration
	// MaxAttributes limits their number. Zero: [MaxAttributes].
	MaxAttributes int
	// MaxBytes limits the sum of the encoded values. Zero: [DefaultSessionBytes].
	MaxBytes int
	// Leeway forgives that much disagreement between clocks. Zero: 30 s. It is
	// never given on the end of a once-only attribute.
	Leeway time.Duration
}

// Limits and defaults.
const (
	MaxAttributes       = 64
	MaxValueBytes       = 11 << 10 // what fits into an envelope of 16 KiB
	DefaultMaxBytes     = 4 << 10
	MaxSessionBytes     = 128 << 10 // what fits, sealed, into a handshake of 256 KiB
	DefaultSessionBytes = 128 << 10
	DefaultLeeway       = 30 * time.Second
	MaxLeeway           = 5 * time.Minute
	MaxOnceTTL          = 24 * time.Hour
	maxDuration         = 10 * 365 * 24 * time.Hour
)

// Policy is an immutable set of rules, safe for concurrent use.
type Policy struct {
	session SessionRule
	rules   map[string]Rule
	names   []string
	version string
}

// New checks the rules against each other and returns an error wrapping
// [ErrPolicy] that names the rule. Revision is the operator's own number for
// this policy; it travels, with a digest of the rules, as the claim "pv".
func New(revision int, session SessionRule, rules ...Rule) (*Policy, error) {
	p := &Policy{session: session.withDefaults(), rules: map[string]Rule{}}
	if err := p.session.check(); err != nil {
		return nil, err
	}
	if revision < 0 {
		return nil, refuse("version", "is negative")
	}
	for _, r := range rules {
		r = r.withDefaults()
		if _, twice := p.rules[r.Name]; twice {
			return nil, refuse(r.Name, "is declared twice")
		}
		if err := r.check(p.session); err != nil {
			return nil, err
		}
		p.rules[r.Name] = r
		p.names = append(p.names, r.Name)
	}
	sort.Strings(p.names)
	p.version = fmt.Sprintf("%d.%s", revision, p.digest())
	return p, nil
}

// Version identifies the rules: the revision, a dot and a digest.
func (p *Policy) Version() string { return p.version }

// Session is the session's rule with its defaults filled in.
func (p *Policy) Session() SessionRule { return p.session }

// Rule finds an attribute's rule with its defaults filled in.
func (p *Policy) Rule(name string) (Rule, bool) {
	r, ok := p.rules[name]
	return r, ok
}

// Rules lists all rules by name.
func (p *Policy) Rules() []Rule {
	out := make([]Rule, 0, len(p.names))
	for _, name := range p.names {
		out = append(out, p.rules[name])
	}
	return out
}

// NeedsStore names an attribute that can't be protected without a replay store.
func (p *Policy) NeedsStore() (name string, needed bool) {
	for _, name := range p.names {
		if p.rules[name].Once {
			return name, true
		}
	}
	return "", false
}

func (p *Policy) digest() string {
	h := sha256.New()
	fmt.Fprintf(h, "%+v\n", p.session)
	for _, r := range p.Rules() {
		fmt.Fprintf(h, "%+v\n", r)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

func (s SessionRule) withDefaults() SessionRule {
	s.MaxAttributes = orDefault(s.MaxAttributes, MaxAttributes)
	s.MaxBytes = orDefault(s.MaxBytes, DefaultSessionBytes)
	s.Leeway = orDefault(s.Leeway, DefaultLeeway)
	return s
}

func (r Rule) withDefaults() Rule {
	r.MaxBytes = orDefault(r.MaxBytes, DefaultMaxBytes)
	return r
}

func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func refuse(name, format string, args ...any) error {
	return fmt.Errorf("%w: %s %s", ErrPolicy, name, fmt.Sprintf(format, args...))
}

func (s SessionRule) check() error {
	switch {
	case s.Idle <= 0 || s.Absolute <= 0:
		return refuse("session", "needs idle and absolute")
	case !whole(s.Idle, s.Absolute, s.Leeway):
		return refuse("session", "has a duration that is negative, too long or not whole seconds")
	case s.Idle > s.Absolute:
		return refuse("session", "has idle %v over absolute %v", s.Idle, s.Absolute)
	case s.Leeway > MaxLeeway:
		return refuse("session", "has leeway over %v", MaxLeeway)
	case s.MaxAttributes < 1 || s.MaxAttributes > MaxAttributes:
		return refuse("session", "has max_attributes outside 1 to %d", MaxAttributes)
	case s.MaxBytes < 1 || s.MaxBytes > MaxSessionBytes:
		return refuse("session", "has max_bytes outside 1 to %d", MaxSessionBytes)
	}
	return nil
}

func (r Rule) check(s SessionRule) error {
	switch {
	case !validName(r.Name):
		return refuse(fmt.Sprintf("%.80q", r.Name), "is not a name: a lower-case letter, then up to 63 of [a-z0-9_.-]")
	case !whole(r.TTL, r.Idle, r.Absolute):
		return refuse(r.Name, "has a duration that is negative, too long or not whole seconds")
	case r.TTL > s.Absolute || r.Absolute > s.Absolute:
		return refuse(r.Name, "outlives the session's absolute %v", s.Absolute)
	case r.Absolute > 0 && r.TTL > r.Absolute:
		return refuse(r.Name, "has ttl %v over absolute %v", r.TTL, r.Absolute)
	case r.Idle > 0 && r.TTL > 0 && r.Idle > r.TTL:
		return refuse(r.Name, "has idle %v over ttl %v", r.Idle, r.TTL)
	case r.Once && (r.TTL == 0 || r.TTL > MaxOnceTTL):
		return refuse(r.Name, "is once-only and needs a ttl of at most %v", MaxOnceTTL)
	case r.Once && (r.Idle > 0 || r.Absolute > 0):
		return refuse(r.Name, "is once-only: its ttl is its only limit, idle and absolute say nothing")
	case r.Once && r.Required:
		return refuse(r.Name, "is once-only and required: once spent, the session could not be restored")
	case r.MaxBytes < 1 || r.MaxBytes > MaxValueBytes:
		return refuse(r.Name, "has max_bytes outside 1 to %d", MaxValueBytes)
	case r.Required && r.OnExpiry == Drop && (r.TTL > 0 || r.Idle > 0 || r.Absolute > 0):
		return refuse(r.Name, "is required and can expire: say on_expiry refuse")
	case r.OnExpiry > Refuse:
		return refuse(r.Name, "has an unknown on_expiry")
	}
	return nil
}

func whole(ds ...time.Duration) bool {
	for _, d := range ds {
		if d < 0 || d > maxDuration || d%time.Second != 0 {
			return false
		}
	}
	return true
}

func validName(name string) bool {
	if len(name) == 0 || len(name) > 64 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for _, c := range []byte(name) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '-') {
			return false
		}
	}
	return true
}
