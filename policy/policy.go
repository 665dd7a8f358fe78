// Package policy says which attributes a session may have, for how long, and
// what happens when one is past its time.
//
// Declare attributes in Go with [Attr] and [Once] and give them to [New], or
// write the rules as a JSON file and [Parse] it; [Overlay] tightens either. Then
// [Policy.Judge], [Policy.JudgeSession] and [Policy.JudgeStore] turn facts into
// a decision with reasons. They are pure: no clock, no I/O, nothing of ours
// imported; the caller brings the time and has already authenticated what it
// asks about.
//
// The policy is judged again each time a set is opened, so that a rule made
// stricter today holds for what was sealed yesterday. Only an attribute's idle
// limit is the one of its sealing: when it was last used is not in the seal.
//
// docs/policy.md lists every rule, its default and what contradicts it.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Errors that a [Violation] wraps: authentic, but not acceptable. The last is of a
// policy itself.
var (
	// ErrExpired says that an attribute's or the session's time is up.
	ErrExpired = errors.New("policy: expired")
	// ErrNotYetValid says that it was issued later than now, by more than the leeway.
	ErrNotYetValid = errors.New("policy: not yet valid")
	// ErrBinding says that the presenter did not prove the cookie or the key.
	ErrBinding = errors.New("policy: not the holder this was sealed for")
	// ErrNotAllowed says that a rule forbids it: an undeclared name, a size, a
	// required attribute that is missing, a protected one that is rolled back.
	ErrNotAllowed = errors.New("policy: not allowed")
	// ErrStoreDown says that the store could not tell: no refusal for good, the
	// set may be tried again.
	ErrStoreDown = errors.New("policy: the store could not tell")
	// ErrPolicy says that a policy contradicts itself or can't be read.
	ErrPolicy = errors.New("policy: refused")
)

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
	// Burn says when a once-only attribute is spent.
	Burn Burn
	// Rollback says what a set that is older than a protected change is worth.
	// Setting or deleting an attribute is a protected change if this is not
	// RollbackAllow.
	Rollback Rollback
	// StoreDown says what happens while the store can't tell.
	StoreDown StoreDown
	// Authority says whether the client carries the attribute at all.
	Authority Authority
	// Pad says how much of the value's length shows.
	Pad Pad
	// Binding says what the presenter of the attribute must prove.
	Binding Binding
}

// Protected says that changes of the attribute must not be undone by an older
// set: whoever makes one tells the store first.
func (r Rule) Protected() bool { return r.Rollback != RollbackAllow }

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

// Limits and defaults. Sizes are in bytes of the values encoded as JSON.
const (
	MaxAttributes       = 64        // in a session; the default too
	MaxValueBytes       = 11 << 10  // what fits into an envelope of 16 KiB
	DefaultMaxBytes     = 4 << 10   // of one value
	MaxSessionBytes     = 128 << 10 // what fits, sealed, into a handshake of 256 KiB
	DefaultSessionBytes = 128 << 10 // of all values of a session
	DefaultLeeway       = 30 * time.Second
	MaxLeeway           = 5 * time.Minute
	MaxOnceTTL          = 24 * time.Hour // of a right
	maxDuration         = 10 * 365 * 24 * time.Hour
	maxVersion          = 64 // of the claim "pv"
)

// Policy is an immutable set of rules, safe for concurrent use.
type Policy struct {
	session     SessionRule
	sessionFrom sources
	rules       map[string]*declared
	names       []string // ascending
	required    []string // of them; this and the next two are asked at each restore
	strict      bool
	needsKey    bool
	revision    string // the base's and those of its overlays, joined by "-"
	overlays    int
	version     string
}

// sources tell where each member of a rule was said, and under "" the rule
// itself. A member that is not there has its default.
type sources map[string]Source

// of is where a member was said, or else its rule.
func (s sources) of(member string) Source {
	if at, said := s[member]; said {
		return at
	}
	return s[""]
}

// declared is a rule, and where it was said.
type declared struct {
	Rule
	from    sources
	misread map[string]bool // members that were said, but not well: nothing is concluded from their absence
}

// declaredSession is the same of the session's rule.
type declaredSession struct {
	SessionRule
	from    sources
	misread map[string]bool
}

// New checks the rules against each other and returns an error wrapping
// [ErrPolicy], a [Problems], that names every rule in which it found something.
// A declaration is an [Attribute], an [OnceAttribute] or a plain [Rule].
// Revision is the operator's own number for this policy; it travels, with a
// digest of the rules, as the claim "pv".
func New(revision int, session SessionRule, declarations ...Declaration) (*Policy, error) {
	if revision < 0 || int64(revision) > maxNumber {
		return nil, Problems{{Source{Origin: FromGo}, "", "version", fmt.Sprintf("want 0 to %d", int64(maxNumber))}}
	}
	rules := make([]declared, len(declarations))
	for i, d := range declarations {
		r := d.declared()
		rules[i] = declared{r, said(ruleMembers, r), nil}
	}
	return build(fmt.Sprint(revision), 0, declaredSession{session, said(sessionMembers, session), nil}, rules, nil)
}

// said are the members that Go code gave.
func said[R any](members []member[R], r R) sources {
	from := sources{"": {Origin: FromGo}}
	for _, m := range members {
		if m.given(r) {
			from[m.name] = Source{Origin: FromGo}
		}
	}
	return from
}

// build makes a policy, however it was written, or tells all that is wrong,
// after the problems that its reader found.
func build(revision string, overlays int, session declaredSession, rules []declared, problems Problems) (*Policy, error) {
	p := &Policy{
		session: session.withDefaults(), sessionFrom: session.from, rules: make(map[string]*declared, len(rules)),
		revision: revision, overlays: overlays,
	}
	p.checkSession(session.misread, &problems)
	for _, r := range rules {
		r.Rule = r.withDefaults()
		if _, twice := p.rules[r.Name]; twice {
			problems.add(r.from.of(""), quoted(r.Name), "", "is declared twice")
			continue
		}
		p.rules[r.Name] = &r
		p.names = append(p.names, r.Name)
	}
	slices.Sort(p.names)
	p.summarize()
	p.checkRules(&problems)
	p.version = revision + "." + p.digest()
	if len(p.version) > maxVersion {
		problems.add(Source{}, "", "version", "%s has over %d characters with its digest: fewer overlays, or shorter numbers", revision, maxVersion)
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Policy) summarize() {
	for _, name := range p.names {
		r := p.rules[name]
		if r.Required {
			p.required = append(p.required, name)
		}
		p.strict = p.strict || r.Rollback == RollbackRefuse
		p.needsKey = p.needsKey || r.Binding == BindingKey
	}
}

// Version identifies the effective rules: the revision, a dot and a digest; 14
// to 64 characters of base64url and one dot. Equal rules of one revision have
// the same version, wherever they were written; an overlay's revision follows
// its base's after a "-".
func (p *Policy) Version() string { return p.version }

// Session is the session's rule with its defaults filled in.
func (p *Policy) Session() SessionRule { return p.session }

// Rule finds an attribute's rule with its defaults filled in.
func (p *Policy) Rule(name string) (Rule, bool) {
	if r := p.rules[name]; r != nil {
		return r.Rule, true
	}
	return Rule{}, false
}

// Rules lists all rules by name.
func (p *Policy) Rules() []Rule {
	out := make([]Rule, 0, len(p.names))
	for _, name := range p.names {
		out = append(out, p.rules[name].Rule)
	}
	return out
}

// NeedsStore names an attribute that can't be protected without a replay store:
// the first by name that is once-only or whose rollback is not allowed.
func (p *Policy) NeedsStore() (name string, needed bool) {
	for _, name := range p.names {
		if r := p.rules[name]; r.Once || r.Protected() {
			return name, true
		}
	}
	return "", false
}

// Strict says that a set older than a protected change is to be refused as a
// whole, because a rule has RollbackRefuse. The attribute need not be in the
// set: the set may be older than it.
func (p *Policy) Strict() bool { return p.strict }

// NeedsKey says that every set must be bound to a key that its presenter proves,
// because a rule has BindingKey. The attribute need not be in the set: the set may
// be older than it.
func (p *Policy) NeedsKey() bool { return p.needsKey }

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

func validName(name string) bool {
	if len(name) == 0 || len(name) > 64 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	return !strings.ContainsFunc(name, func(c rune) bool {
		return !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '-')
	})
}

// quoted is a name as messages show it: plain if it is a name, and cut.
func quoted(name string) string {
	if validName(name) {
		return name
	}
	return fmt.Sprintf("%.40q", name)
}
