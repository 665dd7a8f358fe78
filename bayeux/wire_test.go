package bayeux

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestParseMessages(t *testing.T) {
	deep := func(n int) string {
		return `{"channel":"/a","data":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
	}
	membersOf := func(n int) string {
		var members []string
		for i := range n {
			members = append(members, fmt.Sprintf(`"%03d":1`, i))
		}
		return strings.Join(members, ",")
	}
	extOf := func(n int) string { return `{"ext":{` + membersOf(n) + `}}` }
	tests := []struct {
		name, in string
		want     string // as rendered again; "" for none
		err      error
	}{
		{"empty array", `[]`, ``, nil},
		{"single object", `{"channel":"/a","id":"1","data":null}`, `{"channel":"/a","id":"1","data":null}`, nil},
		{"number id", `[{"channel":"/a","id":12}]`, `{"channel":"/a","id":12}`, nil},
		{"escaped id is echoed as it came", `{"id":"\u0061"}`, `{"id":"\u0061"}`, nil},
		{"null is absent", `{"channel":"/a","clientId":null,"ext":null,"advice":null,"id":null}`, `{"channel":"/a"}`, nil},
		{"unknown members", `{"channel":"/a","x-messages":3,"timestamp":{"a":[1]},"x":[]}`, `{"channel":"/a"}`, nil},
		{"subscription string", `{"subscription":"/a"}`, `{"subscription":"/a"}`, nil},
		{"subscription array", `{"subscription":["/a"]}`, `{"subscription":["/a"]}`, nil},
		{"trailing slash", `{"channel":"/meta/connect/","subscription":["/a/","/"]}`, `{"channel":"/meta/connect","subscription":["/a","/"]}`, nil},
		{"timestamp", `{"timestamp":"Sun, 22 Nov 2026 18:00:00 GMT"}`, `{"timestamp":"Sun, 22 Nov 2026 18:00:00 GMT"}`, nil},
		{"timestamp number", `{"timestamp":1,"id":"1"}`, `{"id":"1"}`, nil},
		{"timestamp too long", `{"timestamp":"` + strings.Repeat("x", 65) + `"}`, `{}`, nil},
		{"advice", `{"advice":{"reconnect":"retry","interval":1e3,"timeout":2000.0,"maxInterval":-1,"multiple-clients":true,"hosts":[]}}`,
			`{"advice":{"reconnect":"retry","interval":1000,"timeout":2000,"maxInterval":-1,"multiple-clients":true}}`, nil},
		{"ext is sorted", `{"ext":{"b":1,"a":{"x":[]}}}`, `{"ext":{"a":{"x":[]},"b":1}}`, nil},
		{"depth at the limit", deep(8), deep(8), nil},
		{"depth over the limit", deep(9), "", errTooDeep},
		{"depth counts the array", "[" + deep(8) + "]", "", errTooDeep},
		{"brackets in strings", `{"error":"[[[[[[[[[\"[[[[[[\\"}`, `{"error":"[[[[[[[[[\"[[[[[[\\"}`, nil},
		{"batch at the limit", `[{},{},{}]`, `{},{},{}`, nil},
		{"batch over the limit", `[{},{},{},{}]`, "", errTooMany},
		{"empty", ``, "", errShape},
		{"not an object", `[1]`, "", errShape},
		{"null message", `[null]`, "", errShape},
		{"string", `"x"`, "", errShape},
		{"two values", `{} {}`, "", errSyntax},
		{"trailing garbage", `[{}]x`, "", errSyntax},
		{"unfinished", `[{"channel":"/a"`, "", errSyntax},
		{"unfinished array", `[{"channel":"/a"}`, "", errSyntax},
		{"missing comma", `[{}{}]`, "", errSyntax},
		{"duplicate", `{"channel":"/a","channel":"/b"}`, "", errSyntax},
		{"duplicate by escape", `{"channel":"/a","\u0063hannel":"/b"}`, "", errSyntax},
		{"duplicate unknown", `{"x":1,"x":2}`, "", errSyntax},
		{"duplicate in data", `{"data":{"x":1,"x":2}}`, "", errSyntax},
		{"duplicate in ext", `{"ext":{"x":1,"x":2}}`, "", errSyntax},
		{"wrong case", `{"Channel":"/a"}`, "", errCaseSlip},
		{"wrong case with null", `{"CHANNEL":null}`, "", errCaseSlip},
		{"wrong case by folding", `{"ſubscription":"/a"}`, "", errCaseSlip},
		{"invalid UTF-8", "{\"channel\":\"/\xff\"}", "", errSyntax},
		{"invalid UTF-8 in data", "{\"data\":\"\xff\"}", "", errSyntax},
		{"lone surrogate", `{"data":"\ud800"}`, "", errSyntax},
		{"channel number", `{"channel":1}`, "", errShape},
		{"id object", `{"id":{}}`, "", errShape},
		{"id too long", `{"id":"` + strings.Repeat("a", maxIDLength) + `"}`, "", errShape},
		{"most members of ext", extOf(maxMembers), extOf(maxMembers), nil},
		{"too many members of ext", extOf(maxMembers + 1), "", errShape},
		{"too many members", "{" + membersOf(maxMembers+1) + "}", "", errShape},
		{"ext array", `{"ext":[]}`, "", errShape},
		{"successful string", `{"successful":"true"}`, "", errShape},
		{"subscription number", `{"subscription":[1]}`, "", errShape},
		{"advice array", `{"advice":[]}`, "", errShape},
		{"interval fraction", `{"advice":{"interval":0.5}}`, "", errShape},
		{"interval huge", `{"advice":{"interval":1e300}}`, "", errShape},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msgs, err := parseMessages([]byte(tt.in), 8, 3)
			if !errors.Is(err, tt.err) || (tt.err == nil && err != nil) {
				t.Fatalf("parseMessages(%s) error = %v, want %v", tt.in, err, tt.err)
			}
			if err != nil {
				if msgs != nil {
					t.Errorf("parseMessages(%s) = %v with an error", tt.in, msgs)
				}
				return
			}
			parts := make([]string, len(msgs))
			for i, m := range msgs {
				parts[i] = string(m.appendTo(nil))
			}
			if got := strings.Join(parts, ","); got != tt.want {
				t.Errorf("parseMessages(%s) = %s, want %s", tt.in, got, tt.want)
			}
		})
	}
}

func TestValidChannel(t *testing.T) {
	seg := func(n int) string { return strings.Repeat("/a", n) }
	tests := []struct {
		ch   string
		want bool
	}{
		{"/a", true}, {"/a/b", true}, {"/*", true}, {"/**", true}, {"/a/*", true}, {"/a/**", true},
		{"/A-z_9!~()$@ #+.{x}", true}, {"/foo/{var}", true},
		{seg(MaxChannelSegments), true}, {seg(MaxChannelSegments + 1), false},
		{"/" + strings.Repeat("a", MaxChannelLength-1), true}, {"/" + strings.Repeat("a", MaxChannelLength), false},
		{"", false}, {"/", false}, {"a", false}, {"//", false}, {"/a//b", false}, {"/a/", false},
		{"/*/a", false}, {"/**/a", false}, {"/a*", false}, {"/a/b*", false}, {"/***", false}, {"/a/*x", false},
		{"/ü", false}, {"/a\x00", false}, {"/a\n", false}, {"/a:b", false}, {"/a%2f", false}, {"/a'", false}, {`/a\b`, false},
	}
	for _, tt := range tests {
		if got := validChannel(tt.ch); got != tt.want {
			t.Errorf("validChannel(%q) = %v, want %v", tt.ch, got, tt.want)
		}
	}
}

func TestMatching(t *testing.T) {
	tests := []struct {
		ch   string
		want []string
	}{
		{"/a", []string{"/a", "/*", "/**"}},
		{"/a/b", []string{"/a/b", "/a/*", "/a/**", "/**"}},
		{"/a/b/c", []string{"/a/b/c", "/a/b/*", "/a/b/**", "/a/**", "/**"}},
	}
	for _, tt := range tests {
		var got []string
		matching(tt.ch, func(p string) { got = append(got, p) })
		if !slices.Equal(got, tt.want) {
			t.Errorf("matching(%q) = %q, want %q", tt.ch, got, tt.want)
		}
	}
}

func TestOverlap(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"/a", "/a", true}, {"/a", "/b", false}, {"/a", "/a/b", false},
		{"/*", "/a", true}, {"/*", "/a/b", false}, {"/*", "/*", true}, {"/a/*", "/b/*", false}, {"/a/*", "/*", false},
		{"/**", "/a", true}, {"/**", "/a/b/c", true}, {"/a/**", "/a", false}, {"/a/**", "/a/b", true}, {"/a/**", "/b/c", false},
		{"/a/**", "/*", false}, {"/a/**", "/a/*", true}, {"/a/**", "/**", true}, {"/a/b/**", "/a/**", true}, {"/a/b/**", "/a/*", false},
	}
	for _, tt := range tests {
		if overlap(tt.a, tt.b) != tt.want || overlap(tt.b, tt.a) != tt.want {
			t.Errorf("overlap(%q, %q) is not %v", tt.a, tt.b, tt.want)
		}
		if Overlaps(tt.a, tt.b) != tt.want {
			t.Errorf("Overlaps(%q, %q) is not %v", tt.a, tt.b, tt.want)
		}
	}
	for _, bad := range []string{"", "/", "a", "secret/**", "/a/", "/**/a", "/a*"} {
		if !Overlaps(bad, "/b") || !Overlaps("/b", bad) {
			t.Errorf("%q, which is no channel, does not overlap everything", bad)
		}
	}
}

func TestDecodeIsStrict(t *testing.T) {
	type value struct {
		V int    `json:"v"`
		S string `json:"s"`
	}
	tests := []struct {
		raw        string
		ok, strict bool
	}{
		{`{"v":1,"s":"x"}`, true, true},
		{`{"v":1}`, true, true},
		{`{"v":1,"w":2}`, true, false},
		{`{"v":1,"V":2}`, true, false},
		{`{"v":"1"}`, false, false},
		{`[]`, false, false},
	}
	for _, tt := range tests {
		m := &Message{Data: []byte(tt.raw)}
		var v value
		if err := m.DecodeData(&v); (err == nil) != tt.ok {
			t.Errorf("DecodeData(%s) = %v, want ok %v", tt.raw, err, tt.ok)
		}
		if err := m.DecodeDataStrict(new(value)); (err == nil) != tt.strict {
			t.Errorf("DecodeDataStrict(%s) = %v, want ok %v", tt.raw, err, tt.strict)
		}
		if tt.ok && v.V != 1 {
			t.Errorf("DecodeData(%s) gave %+v", tt.raw, v)
		}
		if _, err := parseMessages([]byte(`{"ext":{"x":`+tt.raw+`}}`), 8, 1); err != nil {
			t.Fatal(err)
		}
		m.Ext = map[string]jsontext.Value{"x": []byte(tt.raw)}
		present, err := m.DecodeExt("x", &v)
		if !present || (err == nil) != tt.strict {
			t.Errorf("DecodeExt(%s) = %v, %v, want ok %v", tt.raw, present, err, tt.strict)
		}
		if err != nil && strings.Contains(err.Error(), `"`) {
			t.Errorf("error quotes its input: %v", err)
		}
	}
	if present, err := new(Message).DecodeExt("x", new(value)); present || err != nil {
		t.Errorf("DecodeExt of an absent member = %v, %v", present, err)
	}
	for _, raw := range []string{`{"v":1,"v":1}`, "{\"s\":\"\xff\"}", `{"v":1}{}`, `{`} {
		if (&Message{Data: []byte(raw)}).DecodeData(new(value)) == nil {
			t.Errorf("DecodeData(%s) = nil", raw)
		}
	}
	if err := new(Message).DecodeData(new(value)); err == nil {
		t.Error("DecodeData without data = nil")
	}
	m := new(Message)
	if err := m.SetExt("x", rawMessage(`{"a":`)); err == nil {
		t.Error("SetExt took invalid raw JSON")
	}
	if err := m.SetExt("x", map[string]int{"v": 2}); err != nil {
		t.Fatal(err)
	}
	if got := string(m.appendTo(nil)); got != `{"ext":{"x":{"v":2}}}` {
		t.Errorf("message = %s", got)
	}
}

func TestCanonicalOrigin(t *testing.T) {
	tests := []struct {
		in, want string
		ok       bool
	}{
		{"https://example.com", "https://example.com", true},
		{"https://Example.com:443", "https://example.com", true},
		{"http://example.com:80", "http://example.com", true},
		{"http://example.com:443", "http://example.com:443", true},
		{"http://[::1]:8080", "http://[::1]:8080", true},
		{"null", "", false}, {"*", "", false}, {"", "", false}, {"https://", "", false},
		{"https://example.com/", "", false}, {"https://u@example.com", "", false},
		{"https://example.com?x", "", false}, {"ftp://example.com", "", false}, {"example.com", "", false},
		{"https://a.com https://b.com", "", false}, {"file:///x", "", false}, {"https://:80", "", false},
	}
	for _, tt := range tests {
		got, ok := canonicalOrigin(tt.in)
		if got != tt.want || ok != tt.ok {
			t.Errorf("canonicalOrigin(%q) = %q, %v, want %q, %v", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

// Work on one request must stay linear: these took other servers tens of
// seconds.
func TestParseIsLinear(t *testing.T) {
	var unique strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&unique, `"%x":1,`, i)
	}
	for _, in := range []string{
		`{"data":{` + strings.TrimSuffix(unique.String(), ",") + `}}`,
		`{` + strings.TrimSuffix(unique.String(), ",") + `}`,
		`[` + strings.TrimSuffix(strings.Repeat(`{},`, 150_000), ",") + `]`,
		`{"channel":"` + strings.Repeat("/a", 200_000) + `"}`,
		`{"subscription":["` + strings.Repeat(`/a","`, 80_000) + `/b"]}`,
		strings.Repeat("[", 500_000),
		`{"data":{` + strings.TrimSuffix(strings.Repeat(`"x":1,`, 80_000), ",") + `}}`,
	} {
		// The test is that this ends soon; the result is whatever it is.
		_, _ = parseMessages([]byte(in), 16, 1_000_000)
	}
}
