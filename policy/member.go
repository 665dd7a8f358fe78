package policy

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// member is one member of a rule: how it is read from a file, shown, checked by
// itself and compared with an overlay's. R is [Rule] or [SessionRule].
type member[R any] struct {
	name string
	want string // the form that would be right
	// read takes a file's value; false if it does not have the form.
	read func(r *R, v jsontext.Value) bool
	// valid says whether the value is in its bounds.
	valid func(r R) bool
	// show gives the value as in a file: a string, an int or a bool; nil: none.
	show func(r R) any
	// given says that the value is not Go's zero.
	given func(r R) bool
	copy  func(to *R, from R)
	// permits grows with what the value lets pass: an overlay may only lower
	// it. Nil: the program depends on the value, no overlay changes it.
	permits func(r R) int64
}

// field makes the part of a member that needs nothing but its place.
func field[R any, V comparable](name string, at func(*R) *V) member[R] {
	var zero V
	return member[R]{
		name:  name,
		given: func(r R) bool { return *at(&r) != zero },
		copy:  func(to *R, from R) { *at(to) = *at(&from) },
	}
}

var durationForm = regexp.MustCompile(`^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$`)

// duration is a limit in time; a shorter one is tighter, and none is longest.
func duration[R any](name string, longest time.Duration, at func(*R) *time.Duration) member[R] {
	m := field(name, at)
	m.want = fmt.Sprintf(`want whole seconds above zero, at most %s, such as "90s" or "1h30m"`, short(longest))
	m.valid = func(r R) bool { d := *at(&r); return d >= 0 && d <= longest && d%time.Second == 0 }
	m.read = func(r *R, v jsontext.Value) bool {
		text, _ := unquote(v)
		d, err := time.ParseDuration(text)
		*at(r) = d
		return durationForm.MatchString(text) && err == nil && d > 0
	}
	m.show = func(r R) any {
		if d := *at(&r); d != 0 {
			return short(d)
		}
		return nil
	}
	m.permits = func(r R) int64 {
		if d := *at(&r); d > 0 {
			return int64(d)
		}
		return math.MaxInt64
	}
	return m
}

// count is a limit in number or bytes; a smaller one is tighter.
func count[R any](name string, largest int, at func(*R) *int) member[R] {
	m := field(name, at)
	m.want = fmt.Sprintf("want a whole number from 1 to %d", largest)
	m.valid = func(r R) bool { n := *at(&r); return n >= 1 && n <= largest }
	m.read = func(r *R, v jsontext.Value) bool {
		n, ok := number(v)
		*at(r) = n
		return ok && m.valid(*r)
	}
	m.show = func(r R) any { return *at(&r) }
	m.permits = func(r R) int64 { return int64(*at(&r)) }
	return m
}

// flag is true or false.
func flag[R any](name string, at func(*R) *bool, permits func(bool) int64) member[R] {
	m := field(name, at)
	m.want = "want true or false"
	m.valid = func(R) bool { return true }
	m.read = func(r *R, v jsontext.Value) bool {
		*at(r) = string(v) == "true"
		return v.Kind() == 't' || v.Kind() == 'f'
	}
	m.show = func(r R) any { return *at(&r) }
	if permits != nil {
		m.permits = func(r R) int64 { return permits(*at(&r)) }
	}
	return m
}

// choice is one of some words; permits orders them.
func choice[R any, E ~uint8](name string, words []string, at func(*R) *E, permits func(E) int64) member[R] {
	m := field(name, at)
	m.want = `want "` + strings.Join(words, `" or "`) + `"`
	m.valid = func(r R) bool { return int(*at(&r)) < len(words) }
	m.read = func(r *R, v jsontext.Value) bool {
		text, ok := unquote(v)
		i := slices.Index(words, text)
		*at(r) = E(i)
		return ok && i >= 0
	}
	m.show = func(r R) any { return word(words, uint8(*at(&r))) }
	if permits != nil {
		m.permits = func(r R) int64 { return permits(*at(&r)) }
	}
	return m
}

// The orders of choices and flags, by what they let pass.

func laterIsTighter[E ~uint8](e E) int64 { return -int64(e) }

func laterIsLooser[E ~uint8](e E) int64 { return int64(e) }

func trueIsTighter(set bool) int64 {
	if set {
		return 0
	}
	return 1
}

// ruleMembers are the members of an attribute's rule, in the order of the
// documentation.
var ruleMembers = []member[Rule]{
	duration("ttl", maxDuration, func(r *Rule) *time.Duration { return &r.TTL }),
	duration("idle", maxDuration, func(r *Rule) *time.Duration { return &r.Idle }),
	duration("absolute", maxDuration, func(r *Rule) *time.Duration { return &r.Absolute }),
	flag("once", func(r *Rule) *bool { return &r.Once }, nil),
	choice("burn", burns, func(r *Rule) *Burn { return &r.Burn }, nil),
	flag("required", func(r *Rule) *bool { return &r.Required }, trueIsTighter),
	choice("on_expiry", actions, func(r *Rule) *Action { return &r.OnExpiry }, laterIsTighter),
	choice("rollback", rollbacks, func(r *Rule) *Rollback { return &r.Rollback }, laterIsTighter),
	choice("store_down", storeDowns, func(r *Rule) *StoreDown { return &r.StoreDown }, laterIsLooser),
	choice("authority", authority, func(r *Rule) *Authority { return &r.Authority }, laterIsTighter),
	count("max_bytes", MaxValueBytes, func(r *Rule) *int { return &r.MaxBytes }),
	choice("pad", pads, func(r *Rule) *Pad { return &r.Pad }, laterIsTighter),
	choice("binding", bindings, func(r *Rule) *Binding { return &r.Binding }, laterIsTighter),
}

// sessionMembers are the members of the session's rule.
var sessionMembers = []member[SessionRule]{
	duration("idle", maxDuration, func(s *SessionRule) *time.Duration { return &s.Idle }),
	duration("absolute", maxDuration, func(s *SessionRule) *time.Duration { return &s.Absolute }),
	count("max_attributes", MaxAttributes, func(s *SessionRule) *int { return &s.MaxAttributes }),
	count("max_bytes", MaxSessionBytes, func(s *SessionRule) *int { return &s.MaxBytes }),
	duration("leeway", MaxLeeway, func(s *SessionRule) *time.Duration { return &s.Leeway }),
}

// unquote gives a JSON string's text; false if v is none.
func unquote(v jsontext.Value) (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	text, err := jsontext.AppendUnquote(nil, v)
	return string(text), err == nil
}

// maxNumber is the largest whole number that every JSON reader keeps (RFC 8259, §6).
const maxNumber = 1<<53 - 1

// number reads a whole number from zero, in digits alone.
func number(v jsontext.Value) (int, bool) {
	n, err := strconv.Atoi(string(v))
	return n, err == nil && n >= 0 && int64(n) <= maxNumber
}

// short is the duration without its zero parts: 1h, not 1h0m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
