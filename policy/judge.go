package policy

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Facts are what was found in an authentic attribute, and the time. Nothing here
// checks that it is authentic, or of the session that it is presented with.
type Facts struct {
	Now      time.Time
	Name     string
	IssuedAt time.Time // when the value was set, as it was sealed
	Expires  time.Time // its end, as it was sealed
	// AbsoluteExpires is the zero time if the attribute has none.
	AbsoluteExpires time.Time
	Once            bool // it was sealed as a right
	Bytes           int  // of the value, encoded as JSON
	// KeyProved says whether the presenter proved possession of the key that
	// the session is bound to; [BindingKey] asks for it.
	KeyProved bool
}

// StoreFacts are what the replay store said about one attribute of a set. Their
// zero value says that it could not tell.
type StoreFacts struct {
	Name string
	// Known says that the store could tell: it answered, and its memory reaches
	// back to the attribute's issue.
	Known bool
	// RolledBack says that the set is older than a protected change of its session.
	RolledBack bool
}

// SessionFacts are what was found in an authentic manifest, and the time.
type SessionFacts struct {
	Now             time.Time
	IssuedAt        time.Time // when the set was sealed
	Expires         time.Time // its idle end, as it was sealed
	AbsoluteExpires time.Time // its absolute end, as it was sealed
	// Bound says whether the presenter proved to be the holder, as the session
	// cookie does.
	Bound bool
	// KeyProved is as in [Facts].
	KeyProved  bool
	Attributes int      // how many there are
	Bytes      int      // of their values, encoded as JSON, in all
	Names      []string // of the attributes that are to be restored or dropped
}

// Verdict is what a decision asks for. Its zero value refuses.
type Verdict uint8

// The verdicts.
const (
	RefuseSet       Verdict = iota // the whole set is refused
	DropAttribute                  // the set goes on without this attribute
	AcceptAttribute                // nothing is wrong
)

// Violation is one reason: the rule that was broken and how.
type Violation struct {
	Name   string // attribute, or "session"
	Rule   string // member of the policy file, such as "ttl"
	Err    error  // ErrExpired, ErrNotYetValid, ErrBinding, ErrNotAllowed or ErrStoreDown
	Detail string
}

// Error says what was violated; it holds no attribute value.
func (v Violation) Error() string {
	return fmt.Sprintf("%v: %s: %s: %s", v.Err, v.Name, v.Rule, v.Detail)
}

// Unwrap gives the kind of violation to errors.Is.
func (v Violation) Unwrap() error { return v.Err }

// Decision is a verdict with every reason for it.
type Decision struct {
	Verdict    Verdict
	Violations []Violation
	// Expires is the effective end: min(exp, axp, iat + today's TTL).
	Expires time.Time
	// AbsoluteExpires is the session's effective end whatever its use; set by
	// [Policy.JudgeSession] only.
	AbsoluteExpires time.Time
	// Burn says that the restore must spend the right in the same step, or leave
	// the attribute out; set by [Policy.Judge] only, for what it accepts.
	Burn bool
}

// Err joins the violations; nil if there are none.
func (d Decision) Err() error {
	errs := make([]error, len(d.Violations))
	for i, v := range d.Violations {
		errs[i] = v
	}
	return errors.Join(errs...)
}

// undeclared refuses a name of which there is no rule.
func undeclared(name string) Decision {
	return Decision{Violations: []Violation{{name, "attributes", ErrNotAllowed, "today's policy does not declare it"}}}
}

// Judge decides on one attribute under today's rule. An undeclared name, a
// sealed attribute that is now the server's alone, a missing proof of the key, a
// right that was not sealed as one (or the reverse), a value over today's limit
// and a time of issue in the future refuse the set; an expired attribute is
// dropped or refuses, as its rule says.
func (p *Policy) Judge(f Facts) Decision {
	rule := p.rules[f.Name]
	if rule == nil {
		return undeclared(f.Name)
	}
	d := Decision{Verdict: AcceptAttribute, Expires: p.end(&rule.Rule, f)}
	add := func(verdict Verdict, rule string, err error, format string, args ...any) {
		d.Verdict = min(d.Verdict, verdict)
		d.Violations = append(d.Violations, Violation{f.Name, rule, err, fmt.Sprintf(format, args...)})
	}
	if rule.Authority == AuthorityServer {
		add(RefuseSet, "authority", ErrNotAllowed, "is kept on the server")
	}
	if rule.Binding == BindingKey && !f.KeyProved {
		add(RefuseSet, "binding", ErrBinding, "the presenter did not prove the session's key")
	}
	if f.Once != rule.Once {
		add(RefuseSet, "once", ErrNotAllowed, "sealed as once=%t, declared as once=%t", f.Once, rule.Once)
	}
	if f.Bytes > rule.MaxBytes {
		add(RefuseSet, "max_bytes", ErrNotAllowed, "%d bytes over %d", f.Bytes, rule.MaxBytes)
	}
	if f.IssuedAt.Add(-p.session.Leeway).After(f.Now) {
		add(RefuseSet, "leeway", ErrNotYetValid, "issued %v in the future", f.IssuedAt.Sub(f.Now))
	}
	leeway := p.session.Leeway
	if rule.Once {
		leeway = 0
	}
	if !f.Now.Before(d.Expires.Add(leeway)) {
		verdict := DropAttribute
		if rule.OnExpiry == Refuse || rule.Required {
			verdict = RefuseSet
		}
		add(verdict, "ttl", ErrExpired, "ended %v ago", f.Now.Sub(d.Expires))
	}
	d.Burn = d.Verdict == AcceptAttribute && rule.Once && rule.Burn == BurnOnRestore
	return d
}

// JudgeStore decides on one attribute by what the replay store knows of it. What
// the store can't tell is never accepted; with [ErrStoreDown] among the reasons
// the same set may be tried again. Of a set that is not [Policy.Strict] and older
// than a protected change, it leaves out the attributes with RollbackDrop.
//
// It does not set the decision's times.
func (p *Policy) JudgeStore(f StoreFacts) Decision {
	rule, known := p.Rule(f.Name)
	switch {
	case !known:
		return undeclared(f.Name)
	case !f.Known:
		verdict := RefuseSet
		if rule.StoreDown == StoreDownDrop {
			verdict = DropAttribute
		}
		return Decision{Verdict: verdict, Violations: []Violation{{f.Name, "store_down", ErrStoreDown, "the store could not tell about it"}}}
	case f.RolledBack && rule.Protected():
		verdict := RefuseSet
		if rule.Rollback == RollbackDrop {
			verdict = DropAttribute
		}
		return Decision{Verdict: verdict, Violations: []Violation{{f.Name, "rollback", ErrNotAllowed, "the set is older than a protected change"}}}
	}
	return Decision{Verdict: AcceptAttribute}
}

// end is the effective expiry under today's rule. When the value was last used
// is not sealed, so that a shorter idle time holds from the next sealing on.
func (p *Policy) end(rule *Rule, f Facts) time.Time {
	end := earlier(f.Expires, f.IssuedAt.Add(orDefault(rule.TTL, p.session.Absolute)))
	if rule.Absolute > 0 { // counted from the first setting, which was no later
		end = earlier(end, f.IssuedAt.Add(rule.Absolute))
	}
	if !f.AbsoluteExpires.IsZero() {
		end = earlier(end, f.AbsoluteExpires)
	}
	return end
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// JudgeSession decides on a set as a whole: its times under today's idle and
// absolute limits, its holder, its size, and that nothing required is missing.
// The verdict is [AcceptAttribute] or [RefuseSet].
func (p *Policy) JudgeSession(f SessionFacts) Decision {
	s := p.session
	d := Decision{Verdict: AcceptAttribute, AbsoluteExpires: earlier(f.AbsoluteExpires, f.IssuedAt.Add(s.Absolute))}
	d.Expires = earlier(earlier(f.Expires, d.AbsoluteExpires), f.IssuedAt.Add(s.Idle))
	add := func(rule string, err error, format string, args ...any) {
		d.Verdict = RefuseSet
		d.Violations = append(d.Violations, Violation{"session", rule, err, fmt.Sprintf(format, args...)})
	}
	if !f.Bound {
		add("binding", ErrBinding, "the presenter is not the holder")
	}
	if p.NeedsKey() && !f.KeyProved {
		add("binding", ErrBinding, "the set is bound to no key, or the presenter did not prove it")
	}
	if f.IssuedAt.Add(-s.Leeway).After(f.Now) {
		add("leeway", ErrNotYetValid, "issued %v in the future", f.IssuedAt.Sub(f.Now))
	}
	if !f.Now.Before(d.Expires.Add(s.Leeway)) {
		add("idle", ErrExpired, "ended %v ago", f.Now.Sub(d.Expires))
	}
	if f.Attributes > s.MaxAttributes || f.Bytes > s.MaxBytes {
		add("max_attributes, max_bytes", ErrNotAllowed, "%d attributes of %d bytes over %d of %d", f.Attributes, f.Bytes, s.MaxAttributes, s.MaxBytes)
	}
	for _, name := range p.missing(f.Names) {
		add("required", ErrNotAllowed, "%s is missing", name)
	}
	return d
}

func (p *Policy) missing(names []string) (out []string) {
	for _, name := range p.required {
		if !slices.Contains(names, name) {
			out = append(out, name)
		}
	}
	return out
}
