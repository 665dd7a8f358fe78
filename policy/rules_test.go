package policy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
)

// Rules that are built in Go are checked like those of a file.
func TestNewRefuses(t *testing.T) {
	const year = 365 * 24 * time.Hour
	good := func() policy.SessionRule {
		return policy.SessionRule{Idle: 30 * time.Minute, Absolute: 48 * time.Hour}
	}
	for name, c := range map[string]struct {
		revision int
		session  func(*policy.SessionRule)
		rules    []policy.Declaration
	}{
		"negative revision":         {revision: -1},
		"no idle":                   {session: func(s *policy.SessionRule) { s.Idle = 0 }},
		"negative idle":             {session: func(s *policy.SessionRule) { s.Idle = -time.Second }},
		"no absolute":               {session: func(s *policy.SessionRule) { s.Absolute = 0 }},
		"idle over absolute":        {session: func(s *policy.SessionRule) { s.Idle = s.Absolute + time.Second }},
		"half a second of idle":     {session: func(s *policy.SessionRule) { s.Idle += time.Second / 2 }},
		"half a second of absolute": {session: func(s *policy.SessionRule) { s.Absolute += time.Second / 2 }},
		"half a second of leeway":   {session: func(s *policy.SessionRule) { s.Leeway = time.Second / 2 }},
		"negative leeway":           {session: func(s *policy.SessionRule) { s.Leeway = -time.Second }},
		"an hour of leeway":         {session: func(s *policy.SessionRule) { s.Leeway = time.Hour }},
		"11 years":                  {session: func(s *policy.SessionRule) { s.Absolute = 11 * year }},
		"negative attributes":       {session: func(s *policy.SessionRule) { s.MaxAttributes = -1 }},
		"65 attributes":             {session: func(s *policy.SessionRule) { s.MaxAttributes = 65 }},
		"negative bytes":            {session: func(s *policy.SessionRule) { s.MaxBytes = -1 }},
		"one byte too many":         {session: func(s *policy.SessionRule) { s.MaxBytes = policy.MaxSessionBytes + 1 }},
		"declared twice":            {rules: []policy.Declaration{policy.Rule{Name: "a"}, policy.Rule{Name: "a"}}},
		"no name":                   {rules: []policy.Declaration{policy.Rule{}}},
		"name of 65":                {rules: []policy.Declaration{policy.Rule{Name: strings.Repeat("a", 65)}}},
		"name with a digit first":   {rules: []policy.Declaration{policy.Rule{Name: "1a"}}},
		"name with a capital":       {rules: []policy.Declaration{policy.Rule{Name: "aB"}}},
		"name with a quote":         {rules: []policy.Declaration{policy.Rule{Name: `a"`}}},
		"name with a brace first":   {rules: []policy.Declaration{policy.Rule{Name: "{a"}}},
		"negative ttl":              {rules: []policy.Declaration{policy.Rule{Name: "a", TTL: -time.Second}}},
		"half a second of ttl":      {rules: []policy.Declaration{policy.Rule{Name: "a", TTL: time.Second / 2}}},
		"negative idle of a rule":   {rules: []policy.Declaration{policy.Rule{Name: "a", Idle: -time.Second}}},
		"negative end of a rule":    {rules: []policy.Declaration{policy.Rule{Name: "a", Absolute: -time.Second}}},
		"ttl outlives the session":  {rules: []policy.Declaration{policy.Rule{Name: "a", TTL: 49 * time.Hour}}},
		"end outlives the session":  {rules: []policy.Declaration{policy.Rule{Name: "a", Absolute: 49 * time.Hour}}},
		"ttl over absolute":         {rules: []policy.Declaration{policy.Rule{Name: "a", TTL: 2 * time.Hour, Absolute: time.Hour}}},
		"idle over ttl":             {rules: []policy.Declaration{policy.Rule{Name: "a", Idle: 2 * time.Hour, TTL: time.Hour}}},
		"once without ttl":          {rules: []policy.Declaration{policy.Rule{Name: "a", Once: true}}},
		"once for 25 hours":         {rules: []policy.Declaration{policy.Rule{Name: "a", Once: true, TTL: 25 * time.Hour}}},
		"once and idle":             {rules: []policy.Declaration{policy.Rule{Name: "a", Once: true, TTL: time.Hour, Idle: time.Minute}}},
		"once and absolute":         {rules: []policy.Declaration{policy.Rule{Name: "a", Once: true, TTL: time.Hour, Absolute: time.Hour}}},
		"once and required":         {rules: []policy.Declaration{policy.Rule{Name: "a", Once: true, TTL: time.Hour, Required: true, OnExpiry: policy.Refuse}}},
		"negative bytes of a rule":  {rules: []policy.Declaration{policy.Rule{Name: "a", MaxBytes: -1}}},
		"12 KiB of a rule":          {rules: []policy.Declaration{policy.Rule{Name: "a", MaxBytes: 12 << 10}}},
		"required, ttl dropped":     {rules: []policy.Declaration{policy.Rule{Name: "a", Required: true, TTL: time.Hour}}},
		"required, idle dropped":    {rules: []policy.Declaration{policy.Rule{Name: "a", Required: true, Idle: time.Hour}}},
		"required, end dropped":     {rules: []policy.Declaration{policy.Rule{Name: "a", Required: true, Absolute: time.Hour}}},
		"an unknown action":         {rules: []policy.Declaration{policy.Rule{Name: "a", OnExpiry: 2}}},
	} {
		s := good()
		if c.session != nil {
			c.session(&s)
		}
		if p, err := policy.New(c.revision, s, c.rules...); p != nil || !errors.Is(err, policy.ErrPolicy) {
			t.Errorf("%s: New = %v, %v", name, p, err)
		}
	}
	for name, c := range map[string]struct {
		session policy.SessionRule
		rules   []policy.Declaration
	}{
		"nothing but times": {session: good()},
		"the limits": {policy.SessionRule{Idle: 10 * year, Absolute: 10 * year, Leeway: policy.MaxLeeway, MaxAttributes: 64, MaxBytes: policy.MaxSessionBytes}, []policy.Declaration{
			policy.Rule{Name: strings.Repeat("a", 64), MaxBytes: policy.MaxValueBytes, TTL: 10 * year, Absolute: 10 * year, Idle: 10 * year},
			policy.Rule{Name: "once", Once: true, TTL: policy.MaxOnceTTL},
			policy.Rule{Name: "required", Required: true, TTL: time.Hour, OnExpiry: policy.Refuse}, policy.Rule{Name: "always", Required: true},
		}},
		"the smallest": {policy.SessionRule{Idle: time.Second, Absolute: time.Second, Leeway: time.Second, MaxAttributes: 1, MaxBytes: 1}, []policy.Declaration{policy.Rule{Name: "a", MaxBytes: 1}}},
	} {
		if _, err := policy.New(0, c.session, c.rules...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every rule, the session's too, is in the version that travels.
func TestVersionCoversEveryRule(t *testing.T) {
	base := `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"a":{"ttl":"1h"}}}`
	seen := map[string]string{parse(t, base).Version(): "the base"}
	for name, change := range map[string][2]string{
		"revision": {`"version":1`, `"version":2`}, "idle": {`"30m"`, `"31m"`}, "absolute": {`"12h"`, `"11h"`},
		"leeway": {`"12h"`, `"12h","leeway":"5s"`}, "attributes": {`"12h"`, `"12h","max_attributes":5`}, "bytes": {`"12h"`, `"12h","max_bytes":5`},
		"ttl": {`"1h"`, `"2h"`}, "rule's idle": {`"1h"`, `"1h","idle":"5m"`}, "rule's absolute": {`"1h"`, `"1h","absolute":"2h"`}, "once": {`"1h"`, `"1h","once":true`},
		"required": {`"1h"`, `"1h","required":true,"on_expiry":"refuse"`}, "on_expiry": {`"1h"`, `"1h","on_expiry":"refuse"`}, "rule's bytes": {`"1h"`, `"1h","max_bytes":5`}, "name": {`"a"`, `"b"`},
	} {
		version := parse(t, strings.Replace(base, change[0], change[1], 1)).Version()
		if other, twice := seen[version]; twice {
			t.Errorf("%s: the same version as %s", name, other)
		}
		seen[version] = name
	}
}

// What has no ttl ends with the session's rule of today; what has an absolute
// end, with today's.
func TestJudgeWithoutATTL(t *testing.T) {
	p := parse(t, `{"version":1,"session":{"idle":"30m","absolute":"2h"},"attributes":{"cart":{},"mfa":{"required":true},"abs":{"absolute":"1h"}}}`)
	const leeway = policy.DefaultLeeway
	for _, c := range []struct {
		name    string
		at      time.Duration // after issue
		expires time.Duration
		verdict policy.Verdict
	}{
		{"cart", 2*time.Hour + leeway - time.Second, 100 * time.Hour, policy.AcceptAttribute},
		{"cart", 2*time.Hour + leeway, 100 * time.Hour, policy.DropAttribute},
		{"cart", time.Hour + leeway, time.Hour, policy.DropAttribute},
		{"mfa", time.Hour + leeway - time.Second, time.Hour, policy.AcceptAttribute},
		{"mfa", time.Hour + leeway, time.Hour, policy.RefuseSet}, // required: it can't just be left out
		{"mfa", 2*time.Hour + leeway, 100 * time.Hour, policy.RefuseSet},
		{"abs", time.Hour + leeway - time.Second, 100 * time.Hour, policy.AcceptAttribute},
		{"abs", time.Hour + leeway, 100 * time.Hour, policy.DropAttribute},
	} {
		d := p.Judge(policy.Facts{Now: t0.Add(c.at), Name: c.name, IssuedAt: t0, Expires: t0.Add(c.expires), Bytes: 1})
		if d.Verdict != c.verdict || (d.Err() == nil) != (c.verdict == policy.AcceptAttribute) {
			t.Errorf("%s at %v, sealed until %v: %v, %v; want %v", c.name, c.at, c.expires, d.Verdict, d.Err(), c.verdict)
		}
	}
}

// The earliest of all ends counts, whichever it is.
func TestEndOfASession(t *testing.T) {
	p := parse(t, `{"version":1,"session":{"idle":"30m","absolute":"2h"},"attributes":{}}`)
	for name, c := range map[string]struct{ expires, absolute, want, wantAbsolute time.Duration }{
		"the sealed idle end":       {5 * time.Minute, time.Hour, 5 * time.Minute, time.Hour},
		"the sealed absolute end":   {10 * time.Hour, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute},
		"today's idle limit":        {10 * time.Hour, 10 * time.Hour, 30 * time.Minute, 2 * time.Hour},
		"sealed beyond its own end": {time.Hour, 20 * time.Minute, 20 * time.Minute, 20 * time.Minute},
	} {
		f := policy.SessionFacts{Now: t0, IssuedAt: t0, Expires: t0.Add(c.expires), AbsoluteExpires: t0.Add(c.absolute), Bound: true}
		if d := p.JudgeSession(f); d.Verdict != policy.AcceptAttribute || d.Expires.Sub(t0) != c.want || d.AbsoluteExpires.Sub(t0) != c.wantAbsolute {
			t.Errorf("%s: %v, ends after %v and %v; want %v and %v", name, d.Verdict, d.Expires.Sub(t0), d.AbsoluteExpires.Sub(t0), c.want, c.wantAbsolute)
		}
		f.Now = t0.Add(c.want + policy.DefaultLeeway)
		if d := p.JudgeSession(f); d.Verdict != policy.RefuseSet || !errors.Is(d.Err(), policy.ErrExpired) {
			t.Errorf("%s, passed: %v, %v", name, d.Verdict, d.Err())
		}
	}
}

// An undeclared name is refused as such, whatever else there is to say of it.
func TestUndeclaredIsRefusedForItsName(t *testing.T) {
	p := parse(t, `{"version":1,"session":{"idle":"30m","absolute":"2h"},"attributes":{}}`)
	for _, bytes := range []int{0, 1, 1 << 20} {
		d := p.Judge(policy.Facts{Now: t0, Name: "admin", IssuedAt: t0, Expires: t0.Add(time.Hour), Bytes: bytes})
		if d.Verdict != policy.RefuseSet || !errors.Is(d.Err(), policy.ErrNotAllowed) || len(d.Violations) != 1 || d.Violations[0].Rule != "attributes" {
			t.Errorf("%d bytes: %v, %v", bytes, d.Verdict, d.Err())
		}
	}
}
