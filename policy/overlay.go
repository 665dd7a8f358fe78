package policy

import (
	"fmt"
	"maps"
)

// Overlay tightens base by a file, such as an operator's over a policy that was
// written in Go: whatever the result accepts, base accepts too. The file has the
// form of a policy file, and says only what it changes; "version" is required
// and follows the base's in [Policy.Version].
//
// A shorter time, a lower number and a stricter word are tighter; so is a limit
// where there was none. What would loosen a rule, change whether an attribute is
// once-only or when it is spent, or declare another attribute is refused with
// its name and line. The error is a [Problems], as of [Parse].
func Overlay(base *Policy, text []byte) (*Policy, error) {
	file := Source{Origin: FromOverlay, Overlay: base.overlays + 1}
	l, problems := readLayer(text, file)
	if !l.whole {
		return nil, problems.err()
	}
	if !l.versioned {
		file.Line, file.Column = 1, 1
		problems.add(file, "", "", `needs "version"`)
	}
	session := declaredSession{base.session, maps.Clone(base.sessionFrom), nil}
	tighten("session", sessionMembers, &session.SessionRule, session.from, l.session.SessionRule, l.session.from, l.session.misread, &problems)
	rules := make([]declared, 0, len(base.names))
	changes := map[string]declared{}
	for _, r := range l.rules {
		if _, known := base.rules[r.Name]; !known {
			problems.add(r.from.of(""), quoted(r.Name), "", "is not declared: an overlay can't add an attribute")
		}
		changes[r.Name] = r
	}
	for _, name := range base.names {
		r, change := *base.rules[name], changes[name]
		r.from, r.misread = maps.Clone(r.from), change.misread
		tighten(name, ruleMembers, &r.Rule, r.from, change.Rule, change.from, change.misread, &problems)
		rules = append(rules, r)
	}
	return build(fmt.Sprintf("%s-%d", base.revision, l.revision), file.Overlay, session, rules, problems)
}

// tighten takes what a file says over into a rule, unless it is looser.
func tighten[R any](name string, members []member[R], rule *R, from sources, over R, said sources, misread map[string]bool, problems *Problems) {
	for _, m := range members {
		at, ok := said[m.name]
		switch {
		case !ok || misread[m.name]:
			continue
		case m.permits == nil && m.show(over) != m.show(*rule):
			problems.add(at, name, m.name, "%v can't be changed by an overlay: it is %v", m.show(over), m.show(*rule))
		case m.permits != nil && m.permits(over) > m.permits(*rule):
			problems.add(at, name, m.name, "%v is looser than %v: an overlay may only tighten", m.show(over), m.show(*rule))
		default:
			m.copy(rule, over)
			from[m.name] = at
		}
	}
}
