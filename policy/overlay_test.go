package policy_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
)

// Whatever is tighter is taken, what is equal is no change, what is looser is
// refused: for every member.
func TestOverlayTightens(t *testing.T) {
	const head = `{"version":1,"session":{"idle":"30m","absolute":"12h","leeway":"10s","max_attributes":10,"max_bytes":1000},"attributes":`
	base := parse(t, head+`{"bare":{},
		"full":{"ttl":"1h","idle":"10m","absolute":"2h","on_expiry":"refuse","rollback":"drop","store_down":"refuse","max_bytes":100,"binding":"key"},
		"right":{"once":true,"ttl":"1h","burn":"restore"},"loose":{"store_down":"drop"},"must":{"required":true},"own":{"authority":"server"}}}`)
	over := func(rule string) string { return `{"version":2,"attributes":{` + rule + `}}` }
	session := func(rule string) string { return `{"version":2,"session":{` + rule + `}}` }
	for text, wrong := range map[string]string{
		session(`"idle":"29m"`): "", session(`"idle":"30m"`): "", session(`"idle":"31m"`): "session.idle",
		session(`"absolute":"11h"`): "", session(`"absolute":"13h"`): "session.absolute",
		session(`"leeway":"9s"`): "", session(`"leeway":"11s"`): "session.leeway",
		session(`"max_attributes":9`): "", session(`"max_attributes":11`): "session.max_attributes",
		session(`"max_bytes":999`): "", session(`"max_bytes":1001`): "session.max_bytes",
		over(`"bare":{"ttl":"1h"}`): "", over(`"bare":{"idle":"1h"}`): "", over(`"bare":{"absolute":"1h"}`): "",
		over(`"full":{"ttl":"30m"}`): "", over(`"full":{"ttl":"61m"}`): "full.ttl",
		over(`"full":{"idle":"9m"}`): "", over(`"full":{"idle":"11m"}`): "full.idle",
		over(`"full":{"absolute":"1h"}`): "", over(`"full":{"absolute":"3h"}`): "full.absolute",
		over(`"bare":{"once":false}`): "", over(`"bare":{"once":true,"ttl":"1h"}`): "bare.once", over(`"right":{"once":false}`): "right.once",
		over(`"right":{"burn":"restore"}`): "", over(`"right":{"burn":"use"}`): "right.burn",
		over(`"bare":{"required":true}`): "", over(`"must":{"required":true}`): "", over(`"must":{"required":false}`): "must.required",
		over(`"bare":{"on_expiry":"refuse"}`): "", over(`"full":{"on_expiry":"drop"}`): "full.on_expiry",
		over(`"bare":{"rollback":"drop"}`): "", over(`"full":{"rollback":"refuse"}`): "", over(`"full":{"rollback":"allow"}`): "full.rollback",
		over(`"loose":{"store_down":"refuse"}`): "", over(`"full":{"store_down":"drop"}`): "full.store_down",
		over(`"bare":{"authority":"server"}`): "", over(`"own":{"authority":"client"}`): "own.authority",
		over(`"full":{"max_bytes":99}`): "", over(`"full":{"max_bytes":101}`): "full.max_bytes", over(`"bare":{"max_bytes":4097}`): "bare.max_bytes",
		over(`"bare":{"binding":"key"}`): "", over(`"full":{"binding":"cookie"}`): "full.binding",
		over(`"new":{}`): "new", over(`"session":{}`): "session",
		`{"session":{}}`: "", // no version; see below
	} {
		p, err := policy.Overlay(base, []byte(text))
		if !strings.Contains(text, "version") {
			expect(t, err, `1:1 needs "version"`)
			continue
		}
		if wrong == "" {
			if err != nil || p.Version()[:4] != "1-2." {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		ps := problems(t, err)
		if p != nil || len(ps) != 1 || strings.Trim(ps[0].Name+"."+ps[0].Rule, ".") != wrong || ps[0].Source.Origin != policy.FromOverlay || ps[0].Source.Overlay != 1 {
			t.Errorf("%s: %v, want a problem with %s alone", text, err, wrong)
		}
	}
}

// An overlay is checked against the rules that it leaves as they are, and its
// form as strictly as a policy's.
func TestOverlayRefuses(t *testing.T) {
	base := parse(t, smallest)
	for text, want := range map[string]string{
		"{\"version\":1,\n\"session\":{\"absolute\":\"30m\"}}":                     `cart.ttl: 1h outlives the session's absolute 30m`,
		"{\"version\":1,\n\"attributes\":{\"login\":{\"required\":true}}}":         `login.required: contradicts on_expiry drop`,
		"{\"version\":1,\n\"attributes\":{\"ticket\":{\"authority\":\"server\"}}}": `ticket.once: is about what a client brings back`,
		"{\"version\":1,\n\"atributes\":{}}":                                       `atributes: is unknown`,
		"{\"version\":1,\n\"attributes\":{\"cart\":{\"ttl\":\"0s\"}}}":             `cart.ttl: is "0s"`,
		"": "not JSON",
	} {
		p, err := policy.Overlay(base, []byte(text))
		if p != nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		problems(t, err)
	}
	if _, err := policy.Overlay(base, []byte(strings.Repeat(" ", policy.MaxFile+1))); err == nil || !strings.Contains(err.Error(), "over") {
		t.Errorf("a huge overlay: %v", err)
	}
}

// Each value has its source, through as many layers as there are; the base does
// not change.
func TestExplain(t *testing.T) {
	base, err := policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour},
		policy.Attr[[]string]("cart", policy.TTL(time.Hour), policy.RollbackDrop), policy.Attr[int]("count"))
	if err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprint(base.Explain())
	first, err := policy.Overlay(base, []byte("{\"version\":2,\"session\":{\"idle\":\"20m\"},\n\"attributes\":{\"cart\":{\"ttl\":\"30m\",\n\"max_bytes\":10}}}"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := policy.Overlay(first, []byte("{\"version\":3,\n\n\n\"attributes\":{\"cart\":{\"ttl\":\"10m\"}}}"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range second.Explain() {
		got[v.Attribute+"."+v.Rule] = fmt.Sprintf("%v from %v", v.Value, v.Source)
	}
	for rule, want := range map[string]string{
		".idle": "20m from overlay 1 line 1", ".absolute": "12h from Go", ".leeway": "30s from default", ".max_attributes": "64 from default",
		"cart.ttl": "10m from overlay 2 line 4", "cart.max_bytes": "10 from overlay 1 line 3", "cart.rollback": "drop from Go", "cart.idle": "<nil> from default",
		"count.ttl": "12h from default", "count.once": "false from default", "count.max_bytes": "4096 from default",
	} {
		if got[rule] != want {
			t.Errorf("%s: %s, want %s", rule, got[rule], want)
		}
	}
	if len(got) != 5+2*13 {
		t.Errorf("%d rules are explained", len(got))
	}
	if fmt.Sprint(base.Explain()) != before {
		t.Error("the overlay changed its base")
	}
	if p := parse(t, smallest); p.Explain()[0].Source.String() != "line 1" {
		t.Errorf("%v", p.Explain()[0])
	}
}

// The version fits into the claim "pv" and is that of the effective rules,
// wherever they were said.
func TestVersionOfOverlays(t *testing.T) {
	form := regexp.MustCompile(`^[0-9]+(-[0-9]+)*\.[A-Za-z0-9_-]{12}$`)
	base := parse(t, strings.Replace(smallest, `"version":1`, `"version":9007199254740991`, 1))
	p, err := policy.Overlay(base, []byte(`{"version":9007199254740991,"attributes":{"cart":{"ttl":"10m"}}}`))
	if err != nil || !form.MatchString(p.Version()) || len(p.Version()) > 64 {
		t.Fatalf("%v, %v", p, err)
	}
	whole := parse(t, strings.Replace(smallest, `"1h"`, `"10m"`, 1))
	if digest := func(p *policy.Policy) string { return p.Version()[strings.Index(p.Version(), "."):] }; digest(p) != digest(whole) || digest(p) == digest(base) {
		t.Errorf("digests of %s, %s and %s", p.Version(), whole.Version(), base.Version())
	}
	if p, err = policy.Overlay(p, []byte(`{"version":9007199254740991}`)); err != nil || len(p.Version()) != 63 {
		t.Fatalf("%v, %v", p, err)
	}
	if p, err = policy.Overlay(p, []byte(`{"version":1}`)); p != nil || err == nil || !strings.Contains(err.Error(), "64") {
		t.Errorf("a version of over 64 characters: %v", err)
	}
}
