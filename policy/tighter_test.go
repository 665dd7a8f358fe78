package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
)

// random draws policy files and facts. Times are few and close together, so
// that rules meet.
type random struct{ *rand.Rand }

func (r random) pick(words ...string) string { return words[r.IntN(len(words))] }

func (r random) time() string { return r.pick("10s", "1m", "2m", "5m", "10m") }

// members is an object of some of the members; one without a value is left out.
func (r random) members(chance float64, members ...string) string {
	var out []string
	for i := 0; i < len(members); i += 2 {
		if r.Float64() < chance {
			out = append(out, fmt.Sprintf("%q:%s", members[i], members[i+1]))
		}
	}
	return "{" + strings.Join(out, ",") + "}"
}

func (r random) text(words ...string) string { return `"` + r.pick(words...) + `"` }

func (r random) rule(chance float64) string {
	return r.members(chance, "ttl", `"`+r.time()+`"`, "idle", `"`+r.time()+`"`, "absolute", `"`+r.time()+`"`,
		"once", r.pick("true", "false"), "burn", r.text("use", "restore"), "required", r.pick("true", "false"),
		"on_expiry", r.text("drop", "refuse"), "rollback", r.text("allow", "drop", "refuse"), "store_down", r.text("refuse", "drop"),
		"authority", r.text("client", "server"), "max_bytes", r.pick("1", "10", "100"), "binding", r.text("cookie", "key"))
}

func (r random) session(chance float64, idle, absolute string) string {
	return strings.Replace(r.members(chance, "max_attributes", r.pick("1", "2", "3"), "max_bytes", r.pick("10", "100"), "leeway", r.text("1s", "30s", "1m")),
		"{", "{"+idle+absolute, 1)
}

func (r random) attributes(chance float64) string {
	return fmt.Sprintf(`{"a":%s,"b":%s,"c":%s}`, r.rule(chance), r.rule(chance), r.rule(chance))
}

func trimComma(text string) string { return strings.ReplaceAll(text, ",}", "}") }

func (r random) base() string {
	return trimComma(fmt.Sprintf(`{"version":1,"session":%s,"attributes":%s}`,
		r.session(0.3, `"idle":"`+r.time()+`",`, `"absolute":"`+r.pick("5m", "10m", "20m")+`",`), r.attributes(0.2)))
}

func (r random) overlay() string {
	maybe := func(text string) string { return r.pick("", "", text) }
	return trimComma(fmt.Sprintf(`{"version":1,"session":%s,"attributes":%s}`,
		r.session(0.2, maybe(`"idle":"`+r.time()+`",`), maybe(`"absolute":"10m",`)), r.attributes(0.08)))
}

func (r random) after(t time.Time) time.Time {
	return t.Add(time.Duration(r.IntN(15*60)-60) * time.Second)
}

func (r random) facts() policy.Facts {
	f := policy.Facts{Now: r.after(t0), Name: r.pick("a", "b", "c", "d"), IssuedAt: t0, Expires: r.after(t0), Once: r.IntN(2) == 0, Bytes: 1 << r.IntN(8), KeyProved: r.IntN(2) == 0}
	if r.IntN(3) == 0 {
		f.AbsoluteExpires = r.after(t0)
	}
	return f
}

func (r random) sessionFacts() policy.SessionFacts {
	f := policy.SessionFacts{Now: r.after(t0), IssuedAt: t0, Expires: r.after(t0), AbsoluteExpires: r.after(t0.Add(5 * time.Minute)), Bound: r.IntN(4) > 0, KeyProved: r.IntN(2) == 0, Bytes: 1 << r.IntN(8)}
	for _, name := range []string{"a", "b", "c"} {
		if r.IntN(3) > 0 {
			f.Names = append(f.Names, name)
		}
	}
	f.Attributes = len(f.Names)
	return f
}

// Whatever an overlay accepts, its base accepts: for attributes, for sessions,
// for what the store says; and nothing lives longer.
func TestOverlayAcceptsNothingMore(t *testing.T) {
	var layered, tighter, looser int
	for seed := range uint64(8_000) {
		r := random{rand.New(rand.NewPCG(seed, 1))}
		baseText, overlayText := r.base(), r.overlay()
		base, err := policy.Parse([]byte(baseText))
		if err != nil {
			continue
		}
		over, err := policy.Overlay(base, []byte(overlayText))
		if err != nil {
			looser++
			continue
		}
		layered++
		if base.Strict() && !over.Strict() {
			t.Fatalf("seed %d: the overlay lets an older set in\n%s\n%s", seed, baseText, overlayText)
		}
		for range 10 {
			f, s, stored := r.facts(), r.sessionFacts(), policy.StoreFacts{Name: r.pick("a", "b", "c", "d"), Known: r.IntN(2) == 0, RolledBack: r.IntN(2) == 0}
			for _, c := range []struct {
				facts      any
				base, over policy.Decision
			}{{f, base.Judge(f), over.Judge(f)}, {s, base.JudgeSession(s), over.JudgeSession(s)}, {stored, base.JudgeStore(stored), over.JudgeStore(stored)}} {
				if c.over.Verdict > c.base.Verdict || c.over.Expires.After(c.base.Expires) || c.over.AbsoluteExpires.After(c.base.AbsoluteExpires) {
					t.Fatalf("seed %d: %+v\nbase says %+v\noverlay says %+v\n%s\n%s", seed, c.facts, c.base, c.over, baseText, overlayText)
				}
				if c.over.Verdict < c.base.Verdict {
					tighter++
				}
			}
		}
	}
	t.Logf("%d overlays taken, %d refused; %d verdicts were tighter", layered, looser, tighter)
	if layered < 500 || looser < 500 || tighter < 500 {
		t.Error("the draw shows nothing")
	}
}
