package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sealedblob/sealedblob/policy"
)

func problems(t *testing.T, err error) policy.Problems {
	t.Helper()
	ps, ok := errors.AsType[policy.Problems](err)
	if !ok || len(ps) == 0 || !errors.Is(err, policy.ErrPolicy) {
		t.Fatalf("%v is no list of problems", err)
	}
	return ps
}

// placed is the problem after "line:column ".
func placed(p policy.Problem) string {
	at := p.Source
	p.Source = policy.Source{}
	return fmt.Sprintf("%d:%d %v", at.Line, at.Column, p)
}

// expect compares problems with lines of "line:column subject text".
func expect(t *testing.T, err error, want ...string) {
	t.Helper()
	ps := problems(t, err)
	if len(ps) != len(want) {
		t.Errorf("%d problems, want %d:\n%v", len(ps), len(want), err)
	}
	for i := range min(len(ps), len(want)) {
		if got := placed(ps[i]); !strings.HasPrefix(got, want[i]) {
			t.Errorf("problem %q, want %q…", got, want[i])
		}
	}
}

// One mistake does not hide the next, and each has its place.
func TestProblemsOfForm(t *testing.T) {
	_, err := policy.Parse([]byte(`{"version": 1.5,
  "session": {"idle": "1 hour", "absolute": "12h", "max_bytes": 0},
	"attributes": {
    "cart": {"TTL": "1h", "max-bytes": 1, "tt": 3, "ttl": 5,
      "ttl"
      : "1h"},
    "Cart": {"ttl": "nonsense"},
    "é": {}, "a": [], "a": {},
    "b": {"rollback": "yes", "once": "true", "max_bytes": {"x": 1}}
  }, "more": null}`))
	expect(t, err,
		"1:2 version: is 1.5: want a whole number",
		`2:15 session.idle: is "1 hour": want whole seconds above zero, at most 87600h, such as "90s" or "1h30m"`,
		"2:52 session.max_bytes: is 0: want a whole number from 1 to 131072",
		`4:14 cart."TTL": is unknown: want ttl`,
		`4:27 cart.max-bytes: is unknown: want max_bytes`,
		"4:43 cart.tt: is unknown: want one of ttl, idle, absolute, once, burn,",
		"4:52 cart.ttl: is 5: want",
		"5:7 cart.ttl: is there twice",
		`7:5 "Cart": is no name: want a lower-case letter`,
		`7:14 "Cart".ttl: is "nonsense": want whole seconds`,
		`8:5 "é": is no name`,
		"8:20 a: want an object in braces, not [",
		"8:24 a: is there twice",
		`9:11 b.rollback: is "yes": want "allow" or "drop" or "refuse"`,
		`9:30 b.once: is "true": want true or false`,
		"9:46 b.max_bytes: is an object: want a whole number from 1 to 11264",
		"10:6 more: is unknown: want one of $schema, version, session, attributes",
	)
}

func TestProblemsOfSyntax(t *testing.T) {
	const good = `{"version":1,"session":{"idle":"30m","absolute":"12h"}}`
	for text, want := range map[string]string{
		"":                     "1:1 not JSON: ends too early",
		"\n\n{\"version\":1,":  "3:14 not JSON: ends too early",
		"{\n\"version\":1,\n}": "2:12 not JSON: ",
		"{\n'version':1}":      "2:1 not JSON: ",
		good + "\n{}":          "2:1 want nothing after",
		good + "]":             "1:56 want nothing after",
		"\xef\xbb\xbf" + good:  "1:1 not JSON: ",
		"{\"version\":1,\n\"session\":{\"idle\":\"\xff\"}}": "2:",
		"{\"a\":" + strings.Repeat("[", 20_000):             "1:2 a: is unknown",
		"// comment\n" + good:                               "1:1 not JSON: ",
	} {
		_, err := policy.Parse([]byte(text))
		ps := problems(t, err)
		if got := placed(ps[0]); !strings.HasPrefix(got, want) {
			t.Errorf("%.40q: %q, want %q…", text, got, want)
		}
	}
}

// Problems found before bad syntax are told with it.
func TestProblemsBeforeBadSyntax(t *testing.T) {
	_, err := policy.Parse([]byte("{\"more\":1,\n}"))
	expect(t, err, "1:2 more: is unknown", "1:10 not JSON")
}

// Contradictions are told with the line of the member that should change, or
// of the rule that lacks one.
func TestProblemsOfMeaning(t *testing.T) {
	_, err := policy.Parse([]byte(`{"version":1,
"session":{"idle":"30m","absolute":"12h","max_attributes":1},
"attributes":{
"cart":{"ttl":"13h",
  "idle":"14h"},
"ticket":{
  "once":true,"idle":"1m","absolute":"1h","required":true},
"burnt":{"burn":"restore"},
"mfa":{"required":true,"ttl":"1h",
  "rollback":"drop",
  "store_down":"drop"},
"role":{"authority":"server",
  "binding":"key","rollback":"refuse","once":true,"ttl":"25h"}
}}`))
	expect(t, err,
		"2:42 session.max_attributes: 1 is less than the 2 attributes that are required",
		"4:9 cart.ttl: 13h outlives the session's absolute 12h",
		"5:3 cart.idle: 14h outlives the session's absolute 12h",
		"5:3 cart.idle: 14h is over ttl 13h",
		"7:3 ticket.once: needs a ttl of at most 24h",
		"7:15 ticket.idle: says nothing of a once-only attribute",
		"7:27 ticket.absolute: says nothing of a once-only attribute",
		"7:43 ticket.required: contradicts once",
		"7:43 ticket.required: contradicts on_expiry drop",
		"8:10 burnt.burn: only a once-only attribute is spent",
		"9:8 mfa.required: contradicts on_expiry drop",
		"10:3 mfa.rollback: drop contradicts required",
		"11:3 mfa.store_down: drop contradicts required",
		"13:3 role.binding: is about what a client brings back",
		"13:19 role.rollback: is about what a client brings back",
		"13:39 role.once: is about what a client brings back",
		"13:51 role.ttl: 25h outlives the session's absolute 12h",
		"13:51 role.ttl: 25h is too long for a once-only attribute",
	)
	_, err = policy.Parse([]byte(`{"version":1,"session":{"idle":"30m","absolute":"12h","leeway":"6m"}}`))
	expect(t, err, `1:55 session.leeway: is 6m: want whole seconds above zero, at most 5m`)
	_, err = policy.Parse([]byte("{\"version\":1,\n \"session\":{\"idle\":\"1h\"}}"))
	expect(t, err, `2:2 session.absolute: is missing: want a duration such as "12h"`)
}

// A mistake of form hides no contradiction. But nothing is concluded from the
// absence of what was said and could not be read.
func TestProblemsOfFormAndMeaning(t *testing.T) {
	_, err := policy.Parse([]byte(`{"versoin":1,
"session":{"idle":"13h","absolute":"12h","max_atributes":1},
"attributes":{
"cart":{"tll":"1h","ttl":"13h"},
"ticket":{"once":true,"TTL":"10m"},
"voucher":{"once":true,"ttl":600,"idle":"1m"},
"burnt":{"burn":"restore","once":"yes"},
"mfa":{"required":true,"ttl":"1h","on_expiry":"keep","store_down":"drop"},
"Role":{"authority":"server","rollback":"refuse"}
}}`))
	expect(t, err,
		`1:1 needs "version" and "session"`,
		"1:2 versoin: is unknown",
		"2:12 session.idle: 13h is over the session's absolute 12h",
		"2:42 session.max_atributes: is unknown",
		"4:9 cart.tll: is unknown",
		"4:20 cart.ttl: 13h outlives the session's absolute 12h",
		"5:11 ticket.once: needs a ttl of at most 24h",
		`5:23 ticket."TTL": is unknown`,
		"6:24 voucher.ttl: is 600: want",
		"6:34 voucher.idle: says nothing of a once-only attribute",
		`7:27 burnt.once: is "yes": want true or false`,
		`8:35 mfa.on_expiry: is "keep": want`,
		"8:54 mfa.store_down: drop contradicts required",
		`9:1 "Role": is no name`,
		`9:30 "Role".rollback: is about what a client brings back`,
	)
	for text, want := range map[string]string{
		`{"version":1,"session":{"idle":5,"absolute":"12h"},"attributes":{"a":{"ttl":"13h"}}}`:                 "1:71 a.ttl: 13h outlives",
		`{"version":1,"session":{"idle":"1m","absolute":5},"attributes":{"a":{"once":true},"b":{"ttl":"9h"}}}`: "1:70 a.once: needs a ttl",
		`{"version":1,"session":null,"attributes":{"a":{"once":true}}}`:                                        "1:48 a.once: needs a ttl",
		`{"attributes":{"a":{"once":true}},"version":1}`:                                                       "1:21 a.once: needs a ttl",
		`{"version":1,"session":{"idle":"13h","absolute":"12h"},"attributes":{"a":{"ttl":5}}}`:                 "1:75 a.ttl: is 5",
	} {
		_, err := policy.Parse([]byte(text))
		if ps := problems(t, err); len(ps) != 2 || !strings.HasPrefix(placed(ps[1]), want) {
			t.Errorf("%s: want a problem, and %q:\n%v", text, want, err)
		}
	}
}

// What an overlay can't change, and what it could not be read to say, hides no
// contradiction with what it may change.
func TestProblemsOfOverlays(t *testing.T) {
	base, err := policy.Parse([]byte(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{"ttl":"1h"},"mfa":{"ttl":"20m"},"login":{"ttl":"9m"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = policy.Overlay(base, []byte(`{"vresion":2,"session":{"absolute":"30m","leeway":"1m"},
"attributes":{"cart":{"once":true},"mfa":{"required":true,"on_expiry":"keep"},"Mfa":{},
"cart ":{"max_bytes":0},"login":{"ttl":5}}}`))
	expect(t, err,
		"1:78 cart.ttl: 1h outlives the session's absolute 30m",
		`1:1 needs "version"`,
		"1:2 vresion: is unknown",
		"1:42 session.leeway: 1m is looser than 30s",
		"2:23 cart.once: true can't be changed",
		`2:59 mfa.on_expiry: is "keep"`,
		`2:79 "Mfa": is not declared`,
		`3:1 "cart ": is not declared`,
		`3:10 "cart ".max_bytes: is 0`,
		"3:34 login.ttl: is 5",
	)
}

// However many mistakes and however long: a bounded number of short lines.
func TestProblemsAreBounded(t *testing.T) {
	long := strings.Repeat("😀", 1000)
	var text strings.Builder
	text.WriteString(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{`)
	for i := range 100 {
		fmt.Fprintf(&text, "%q:{},\"%s%d\":{\"%s\":1},\n", fmt.Sprint(long, i), strings.Repeat("a", 60), i, long)
	}
	text.WriteString(`"z":{"ttl":"` + long + `"}}}`)
	_, err := policy.Parse([]byte(text.String()))
	ps := problems(t, err)
	if len(ps) != 20 {
		t.Errorf("%d problems, want 20", len(ps))
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		if len(line) > 200+len("policy: refused: ") || !utf8.ValidString(line) {
			t.Errorf("a line of %d bytes: %q", len(line), line)
		}
	}
	_, err = policy.Parse([]byte(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"a":{"ttl":"` + long + `"}}}`))
	if len(err.Error()) > 300 {
		t.Errorf("%d bytes", len(err.Error()))
	}
}

// What Go code gets wrong is told by rule and member: it has no line.
func TestProblemsOfGo(t *testing.T) {
	_, err := policy.New(1, policy.SessionRule{Idle: time.Minute, Absolute: time.Hour},
		policy.Rule{Name: "a", Burn: policy.BurnOnRestore}, policy.Rule{Name: "b", Rollback: 9, MaxBytes: -1})
	expect(t, err, "0:0 a.burn: only a once-only", `0:0 b.rollback: is unknown: want "allow" or`, "0:0 b.max_bytes: is -1: want a whole number")
	_, many := policy.New(1<<53, policy.SessionRule{Idle: time.Minute, Absolute: time.Hour})
	expect(t, many, "0:0 version: want 0 to 9007199254740991")
	if got := problems(t, err)[0]; got.Source != (policy.Source{Origin: policy.FromGo}) || got.Error() != "a.burn: "+got.Text {
		t.Errorf("%+v: %v", got, got)
	}
}
