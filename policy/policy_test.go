package policy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
)

const smallest = `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{"ttl":"1h"},"login":{"ttl":"1m","on_expiry":"drop"},"ticket":{"ttl":"10m","once":true}}}`

var t0 = time.Unix(1_800_000_000, 0)

func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return p
}

func TestParse(t *testing.T) {
	p := parse(t, smallest)
	r, ok := p.Rule("ticket")
	if !ok || r.TTL != 10*time.Minute || !r.Once || r.MaxBytes != policy.DefaultMaxBytes {
		t.Errorf("ticket = %+v", r)
	}
	if len(p.Rules()) != 3 || p.Session().Leeway != policy.DefaultLeeway {
		t.Errorf("rules %v, session %+v", p.Rules(), p.Session())
	}
	if name, needed := p.NeedsStore(); !needed || name != "ticket" {
		t.Errorf("NeedsStore = %s, %t", name, needed)
	}
	same, err := policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour},
		policy.Rule{Name: "ticket", TTL: 10 * time.Minute, Once: true}, policy.Rule{Name: "login", TTL: time.Minute}, policy.Rule{Name: "cart", TTL: time.Hour})
	if err != nil || same.Version() != p.Version() {
		t.Errorf("the same rules from Go have version %v, %v; the file %v", same.Version(), err, p.Version())
	}
	if other := parse(t, strings.Replace(smallest, `"1h"`, `"2h"`, 1)); other.Version() == p.Version() {
		t.Error("another ttl, the same version")
	}
}

func TestParseRefuses(t *testing.T) {
	session := `"version":1,"session":{"idle":"30m","absolute":"12h"}`
	for name, c := range map[string]struct{ text, message string }{
		"empty":             {``, ""},
		"no version":        {`{"session":{"idle":"1m","absolute":"1h"}}`, "version"},
		"no session":        {`{"version":1}`, "session"},
		"unknown member":    {`{` + session + `,"extra":1}`, "extra"},
		"wrong case":        {`{` + session + `,"Attributes":{}}`, "Attributes"},
		"duplicate":         {`{` + session + `,"version":2}`, "version"},
		"duplicate rule":    {`{` + session + `,"attributes":{"a":{},"a":{}}}`, "a"},
		"unknown rule":      {`{` + session + `,"attributes":{"a":{"tll":"1h"}}}`, "tll"},
		"line":              {"{\n\n" + session + ",\n\"attributes\":{\"a\":{\"ttl\":\"1x\"}}}", "line 4"},
		"number as time":    {`{` + session + `,"attributes":{"a":{"ttl":60}}}`, "a.ttl"},
		"half seconds":      {`{` + session + `,"attributes":{"a":{"ttl":"1500ms"}}}`, "whole seconds"},
		"zero":              {`{` + session + `,"attributes":{"a":{"ttl":"0s"}}}`, "above zero"},
		"bad name":          {`{` + session + `,"attributes":{"A b":{}}}`, "A b"},
		"bad action":        {`{` + session + `,"attributes":{"a":{"on_expiry":"keep"}}}`, "drop"},
		"trailing":          {smallest + `{}`, ""},
		"idle over end":     {`{"version":1,"session":{"idle":"2h","absolute":"1h"}}`, "idle"},
		"once, no ttl":      {`{` + session + `,"attributes":{"ticket":{"once":true}}}`, "ticket"},
		"once, a week":      {`{"version":1,"session":{"idle":"30m","absolute":"200h"},"attributes":{"ticket":{"once":true,"ttl":"168h"}}}`, "ticket"},
		"once and idle":     {`{` + session + `,"attributes":{"ticket":{"once":true,"ttl":"1h","idle":"1m"}}}`, "ticket"},
		"once and required": {`{` + session + `,"attributes":{"ticket":{"once":true,"ttl":"1h","required":true,"on_expiry":"refuse"}}}`, "ticket"},
		"required, dropped": {`{` + session + `,"attributes":{"mfa":{"required":true,"ttl":"1h"}}}`, "mfa"},
		"outlives session":  {`{` + session + `,"attributes":{"a":{"ttl":"13h"}}}`, "outlives"},
		"ttl over absolute": {`{` + session + `,"attributes":{"a":{"ttl":"2h","absolute":"1h"}}}`, "absolute"},
		"too many bytes":    {`{` + session + `,"attributes":{"a":{"max_bytes":12000}}}`, "max_bytes"},
		"bad UTF-8":         {"{" + session + ",\"attributes\":{\"a\xff\":{}}}", ""},
		"deep":              {strings.Repeat(`{"a":`, 100_000), ""},
		"huge":              {strings.Repeat(" ", policy.MaxFile+1), "over"},
	} {
		p, err := policy.Parse([]byte(c.text))
		if p != nil || !errors.Is(err, policy.ErrPolicy) || !strings.Contains(err.Error(), c.message) || len(err.Error()) > 400 {
			t.Errorf("%s: Parse = %v, %v; want an ErrPolicy with %q", name, p, err, c.message)
		}
	}
}

func facts(name string) policy.Facts {
	return policy.Facts{Now: t0, Name: name, IssuedAt: t0, Expires: t0.Add(time.Hour), Bytes: 1}
}

func TestJudge(t *testing.T) {
	p := parse(t, `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{
		"cart":{"ttl":"1h"},"login":{"ttl":"1m"},"pin":{"ttl":"1m","on_expiry":"refuse"},"ticket":{"ttl":"10m","once":true},"small":{"max_bytes":10}}}`)
	const leeway = policy.DefaultLeeway
	for _, c := range []struct {
		name    string
		facts   policy.Facts
		change  func(*policy.Facts)
		verdict policy.Verdict
		err     error
	}{
		{"fresh", facts("cart"), nil, policy.AcceptAttribute, nil},
		{"undeclared", facts("admin"), nil, policy.RefuseSet, policy.ErrNotAllowed},
		{"last moment", facts("cart"), func(f *policy.Facts) { f.Now = t0.Add(time.Hour + leeway - time.Second) }, policy.AcceptAttribute, nil},
		{"expired", facts("cart"), func(f *policy.Facts) { f.Now = t0.Add(time.Hour + leeway) }, policy.DropAttribute, policy.ErrExpired},
		{"today's ttl hits an older, longer one", facts("login"), func(f *policy.Facts) { f.Now = t0.Add(time.Minute + leeway) }, policy.DropAttribute, policy.ErrExpired},
		{"sealed shorter than today's ttl", facts("cart"), func(f *policy.Facts) { f.Expires = t0.Add(time.Second); f.Now = t0.Add(time.Second + leeway) }, policy.DropAttribute, policy.ErrExpired},
		{"absolute expiry", facts("cart"), func(f *policy.Facts) { f.AbsoluteExpires = t0.Add(time.Second); f.Now = t0.Add(time.Second + leeway) }, policy.DropAttribute, policy.ErrExpired},
		{"on_expiry refuse", facts("pin"), func(f *policy.Facts) { f.Now = t0.Add(time.Minute + leeway) }, policy.RefuseSet, policy.ErrExpired},
		{"future within leeway", facts("cart"), func(f *policy.Facts) { f.Now = t0.Add(-leeway) }, policy.AcceptAttribute, nil},
		{"future", facts("cart"), func(f *policy.Facts) { f.Now = t0.Add(-leeway - time.Second) }, policy.RefuseSet, policy.ErrNotYetValid},
		{"no leeway for a right", facts("ticket"), func(f *policy.Facts) { f.Once = true; f.Now = t0.Add(10 * time.Minute) }, policy.DropAttribute, policy.ErrExpired},
		{"a right at its last second", facts("ticket"), func(f *policy.Facts) { f.Once = true; f.Now = t0.Add(10*time.Minute - time.Second) }, policy.AcceptAttribute, nil},
		{"a right not sealed as one", facts("ticket"), nil, policy.RefuseSet, policy.ErrNotAllowed},
		{"sealed as a right, no longer one", facts("cart"), func(f *policy.Facts) { f.Once = true }, policy.RefuseSet, policy.ErrNotAllowed},
		{"at the size", facts("small"), func(f *policy.Facts) { f.Bytes = 10 }, policy.AcceptAttribute, nil},
		{"over the size", facts("small"), func(f *policy.Facts) { f.Bytes = 11 }, policy.RefuseSet, policy.ErrNotAllowed},
	} {
		if c.change != nil {
			c.change(&c.facts)
		}
		d := p.Judge(c.facts)
		if d.Verdict != c.verdict || !errors.Is(d.Err(), c.err) || (d.Err() == nil) != (c.verdict == policy.AcceptAttribute) {
			t.Errorf("%s: Judge = %v, %v; want %v, %v", c.name, d.Verdict, d.Err(), c.verdict, c.err)
		}
	}
}

func TestJudgeCollectsAllReasons(t *testing.T) {
	p := parse(t, `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"a":{"ttl":"1m","max_bytes":1}}}`)
	d := p.Judge(policy.Facts{Now: t0.Add(time.Hour), Name: "a", IssuedAt: t0, Expires: t0, Bytes: 2, Once: true})
	if len(d.Violations) != 3 || d.Verdict != policy.RefuseSet {
		t.Errorf("violations %v, verdict %v; want three and a refusal", d.Violations, d.Verdict)
	}
}

func TestJudgeSession(t *testing.T) {
	p := parse(t, `{"version":1,"session":{"idle":"30m","absolute":"12h","max_attributes":2,"max_bytes":100},"attributes":{"mfa":{"required":true},"cart":{}}}`)
	const leeway = policy.DefaultLeeway
	good := func() policy.SessionFacts {
		return policy.SessionFacts{Now: t0, IssuedAt: t0, Expires: t0.Add(30 * time.Minute), AbsoluteExpires: t0.Add(12 * time.Hour), Bound: true, Attributes: 2, Bytes: 100, Names: []string{"mfa", "cart"}}
	}
	for _, c := range []struct {
		name   string
		change func(*policy.SessionFacts)
		err    error
	}{
		{"good", func(*policy.SessionFacts) {}, nil},
		{"not the holder", func(f *policy.SessionFacts) { f.Bound = false }, policy.ErrBinding},
		{"idle, last moment", func(f *policy.SessionFacts) { f.Now = t0.Add(30*time.Minute + leeway - time.Second) }, nil},
		{"idle", func(f *policy.SessionFacts) { f.Now = t0.Add(30*time.Minute + leeway) }, policy.ErrExpired},
		{"idle was longer when sealed", func(f *policy.SessionFacts) { f.Expires = t0.Add(5 * time.Hour); f.Now = t0.Add(time.Hour) }, policy.ErrExpired},
		{"absolute", func(f *policy.SessionFacts) {
			f.AbsoluteExpires = t0.Add(time.Second)
			f.Now = t0.Add(time.Second + leeway)
		}, policy.ErrExpired},
		{"future", func(f *policy.SessionFacts) { f.Now = t0.Add(-leeway - time.Second) }, policy.ErrNotYetValid},
		{"too many", func(f *policy.SessionFacts) { f.Attributes = 3 }, policy.ErrNotAllowed},
		{"too large", func(f *policy.SessionFacts) { f.Bytes = 101 }, policy.ErrNotAllowed},
		{"required is missing", func(f *policy.SessionFacts) { f.Names = []string{"cart"} }, policy.ErrNotAllowed},
	} {
		f := good()
		c.change(&f)
		d := p.JudgeSession(f)
		if !errors.Is(d.Err(), c.err) || (d.Err() == nil) != (c.err == nil) || (d.Verdict == policy.AcceptAttribute) != (c.err == nil) {
			t.Errorf("%s: JudgeSession = %v, %v; want %v", c.name, d.Verdict, d.Err(), c.err)
		}
	}
	f := good()
	f.AbsoluteExpires = t0.Add(100 * time.Hour)
	if d := p.JudgeSession(f); !d.AbsoluteExpires.Equal(t0.Add(12 * time.Hour)) {
		t.Errorf("today's absolute gives %v", d.AbsoluteExpires)
	}
}

func TestZeroDecisionRefuses(t *testing.T) {
	if (policy.Decision{}).Verdict != policy.RefuseSet {
		t.Error("a zero decision accepts")
	}
}
