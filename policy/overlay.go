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
	l, err := readLayer(text, file)
	if err != nil {
		return nil, err
	}
	var problems Problems
	if l.revision < 0 {
		file.Line, file.Column = 1, 1
		problems.add(file, "", "", `needs "version"`)
	}
	session, from := base.session, maps.Clone(base.sessionFrom)
	tighten("session", sessionMembers, &session, from, l.session, l.sessionFrom, &problems)
	rules := make([]declared, 0, len(base.names))
	changes := map[string]declared{}
	for _, r := range l.rules {
		if _, known := base.rules[r.Name]; !known {
			problems.add(r.from.of(""), r.Name, "", "is not declared: an overlay can't add an attribute")
		}
		changes[r.Name] = r
	}
	for _, name := range base.names {
		r, change := *base.rules[name], changes[name]
		r.from = maps.Clone(r.from)
		tighten(name, ruleMembers, &r.Rule, r.from, change.Rule, change.from, &problems)
		rules = append(rules, r)
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	return build(fmt.Sprintf("%s-%d", base.revision, l.revision), file.Overlay, session, from, rules)
}

// tighten takes what a file says over into a rule, unless it is looser.
func tighten[R any](name string, members []member[R], rule *R, from sources, over R, said sources, problems *Problems) {
	for _, m := range members {
		at, ok := said[m.name]
		switch {
		case !ok:
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
