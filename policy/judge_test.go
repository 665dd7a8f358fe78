package policy_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
)

const protections = `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{
	"cart":{},"note":{"rollback":"drop","store_down":"drop"},"paid":{"rollback":"refuse"},
	"role":{"authority":"server"},"bank":{"binding":"key"},
	"entry":{"once":true,"ttl":"10m","burn":"restore"},"ticket":{"once":true,"ttl":"10m"}}}`

// Who keeps an attribute, what its presenter proves and when it is spent are
// judged by today's rule.
func TestJudgeNewRules(t *testing.T) {
	p := parse(t, protections)
	right := func(f *policy.Facts) { f.Once = true }
	for name, c := range map[string]struct {
		of      string
		change  func(*policy.Facts)
		verdict policy.Verdict
		err     error
		rule    string
		burn    bool
	}{
		"the server's own":              {"role", nil, policy.RefuseSet, policy.ErrNotAllowed, "authority", false},
		"the server's own, key proved":  {"role", func(f *policy.Facts) { f.KeyProved = true }, policy.RefuseSet, policy.ErrNotAllowed, "authority", false},
		"no proof of the key":           {"bank", nil, policy.RefuseSet, policy.ErrBinding, "binding", false},
		"proof of the key":              {"bank", func(f *policy.Facts) { f.KeyProved = true }, policy.AcceptAttribute, nil, "", false},
		"no proof needed":               {"cart", nil, policy.AcceptAttribute, nil, "", false},
		"burnt in the restore":          {"entry", right, policy.AcceptAttribute, nil, "", true},
		"burnt on use":                  {"ticket", right, policy.AcceptAttribute, nil, "", false},
		"expired: nothing is burnt":     {"entry", func(f *policy.Facts) { right(f); f.Now = t0.Add(time.Hour) }, policy.DropAttribute, policy.ErrExpired, "ttl", false},
		"refused: nothing is burnt":     {"entry", func(f *policy.Facts) { right(f); f.Bytes = 1 << 20 }, policy.RefuseSet, policy.ErrNotAllowed, "max_bytes", false},
		"not a right: nothing is burnt": {"entry", nil, policy.RefuseSet, policy.ErrNotAllowed, "once", false},
	} {
		f := facts(c.of)
		if c.change != nil {
			c.change(&f)
		}
		d := p.Judge(f)
		if d.Verdict != c.verdict || !errors.Is(d.Err(), c.err) || d.Burn != c.burn {
			t.Errorf("%s: %v, %v, burn %t", name, d.Verdict, d.Err(), d.Burn)
		}
		if c.rule != "" && (len(d.Violations) != 1 || d.Violations[0].Rule != c.rule) {
			t.Errorf("%s: %v, want the rule %s alone", name, d.Violations, c.rule)
		}
	}
}

// What the store can't tell is never accepted, and an old set is worth what the
// rule says.
func TestJudgeStore(t *testing.T) {
	p := parse(t, protections)
	for _, c := range []struct {
		of                string
		known, rolledBack bool
		verdict           policy.Verdict
		err               error
	}{
		{"cart", true, false, policy.AcceptAttribute, nil},
		{"cart", true, true, policy.AcceptAttribute, nil},
		{"cart", false, false, policy.RefuseSet, policy.ErrStoreDown},
		{"note", true, false, policy.AcceptAttribute, nil},
		{"note", true, true, policy.DropAttribute, policy.ErrNotAllowed},
		{"note", false, false, policy.DropAttribute, policy.ErrStoreDown},
		{"note", false, true, policy.DropAttribute, policy.ErrStoreDown},
		{"paid", true, false, policy.AcceptAttribute, nil},
		{"paid", true, true, policy.RefuseSet, policy.ErrNotAllowed},
		{"paid", false, true, policy.RefuseSet, policy.ErrStoreDown},
		{"admin", true, false, policy.RefuseSet, policy.ErrNotAllowed},
		{"admin", false, false, policy.RefuseSet, policy.ErrNotAllowed},
	} {
		d := p.JudgeStore(policy.StoreFacts{Name: c.of, Known: c.known, RolledBack: c.rolledBack})
		if d.Verdict != c.verdict || !errors.Is(d.Err(), c.err) || (d.Err() == nil) != (c.verdict == policy.AcceptAttribute) {
			t.Errorf("%s, known %t, rolled back %t: %v, %v", c.of, c.known, c.rolledBack, d.Verdict, d.Err())
		}
	}
	for _, r := range p.Rules() {
		if d := p.JudgeStore(policy.StoreFacts{Name: r.Name}); d.Verdict == policy.AcceptAttribute {
			t.Errorf("%s: facts of which nothing is known are accepted", r.Name)
		}
	}
}

// A rule that asks for the session's key holds for sets that lack its attribute too.
func TestKeyIsNeededByEverySet(t *testing.T) {
	for rule, needed := range map[string]bool{`{}`: false, `{"binding":"cookie"}`: false, `{"binding":"key"}`: true} {
		p := parse(t, `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"a":{},"b":`+rule+`}}`)
		for _, proved := range []bool{false, true} {
			d := p.JudgeSession(policy.SessionFacts{
				Now: t0, IssuedAt: t0, Expires: t0.Add(30 * time.Minute), AbsoluteExpires: t0.Add(12 * time.Hour),
				Bound: true, KeyProved: proved, Attributes: 1, Names: []string{"a"},
			})
			want := policy.AcceptAttribute
			if needed && !proved {
				want = policy.RefuseSet
			}
			if d.Verdict != want || (want == policy.RefuseSet) != errors.Is(d.Err(), policy.ErrBinding) || p.NeedsKey() != needed {
				t.Errorf("%s, key proved %t: %v, %v; needs a key: %t", rule, proved, d.Verdict, d.Err(), p.NeedsKey())
			}
		}
	}
}

// A rule that refuses a rollback holds for sets that lack its attribute too.
func TestStrictAndNeedsStore(t *testing.T) {
	for rule, want := range map[string]struct{ strict, store, protected bool }{
		`{}`:                       {false, false, false},
		`{"rollback":"allow"}`:     {false, false, false},
		`{"rollback":"drop"}`:      {false, true, true},
		`{"rollback":"refuse"}`:    {true, true, true},
		`{"once":true,"ttl":"1h"}`: {false, true, false},
		`{"store_down":"drop"}`:    {false, false, false},
		`{"binding":"key"}`:        {false, false, false},
		`{"authority":"server"}`:   {false, false, false},
	} {
		p := parse(t, `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"a":{},"b":`+rule+`}}`)
		name, needed := p.NeedsStore()
		r, _ := p.Rule("b")
		if p.Strict() != want.strict || needed != want.store || needed && name != "b" || r.Protected() != want.protected {
			t.Errorf("%s: strict %t, needs a store %t (%s), protected %t", rule, p.Strict(), needed, name, r.Protected())
		}
	}
}
