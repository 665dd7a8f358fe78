package fuzz

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/vectors"
)

// FuzzPolicy: a policy or overlay is refused with short lines, or judges
// everything without a panic; a verdict always has its reasons; and an overlay
// accepts nothing that its base refuses.
func FuzzPolicy(f *testing.F) {
	const over = `{"version":2,"session":{"leeway":"1s"},"attributes":{"cart":{"ttl":"1m","rollback":"refuse","store_down":"refuse"}}}`
	samples, err := filepath.Glob("../policy/testdata/*/*.json")
	if err != nil || len(samples) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	texts := [][]byte{vectors.Policy(), []byte(testkit.ShopPolicy)}
	for _, file := range samples {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		texts = append(texts, text)
	}
	for _, text := range texts {
		f.Add(text, []byte(over), "cart", int64(0), int64(60), uint8(0), 10)
		f.Add(vectors.Policy(), text, "ticket", int64(0), int64(60), uint8(255), 10)
	}
	f.Fuzz(func(t *testing.T, text, over []byte, name string, age, life int64, flags uint8, size int) {
		p, err := policy.Parse(text)
		refusedOrNot(t, p, err)
		if p == nil {
			return
		}
		var declarations []policy.Declaration
		for _, rule := range p.Rules() {
			declarations = append(declarations, rule)
		}
		again, err := policy.New(0, p.Session(), declarations...)
		if err != nil || len(again.Rules()) != len(p.Rules()) || !strings.HasSuffix(p.Version(), strings.TrimPrefix(again.Version(), "0")) {
			t.Errorf("the rules of a good policy are refused or others: %v", err)
		}
		tight, err := policy.Overlay(p, over)
		refusedOrNot(t, tight, err)
		now := time.Unix(1_800_000_000, 0)
		issued := now.Add(-time.Duration(age%1e9) * time.Second)
		facts := policy.Facts{
			Now: now, Name: name, IssuedAt: issued, Expires: issued.Add(time.Duration(life%1e9) * time.Second),
			Once: flags&1 != 0, KeyProved: flags&2 != 0, Bytes: size,
		}
		stored := policy.StoreFacts{Name: name, Known: flags&4 != 0, RolledBack: flags&8 != 0}
		for i, d := range []policy.Decision{p.Judge(facts), p.JudgeStore(stored)} {
			if (d.Verdict == policy.AcceptAttribute) != (len(d.Violations) == 0) {
				t.Errorf("verdict %d with %d reasons", d.Verdict, len(d.Violations))
			}
			if _, declared := p.Rule(name); !declared && d.Verdict != policy.RefuseSet {
				t.Error("an undeclared name is not refused")
			}
			if tight != nil && []policy.Decision{tight.Judge(facts), tight.JudgeStore(stored)}[i].Verdict > d.Verdict {
				t.Error("the overlay accepts what its base refuses")
			}
		}
	})
}

// refusedOrNot: a policy with a short version, or lines of at most 200 bytes.
func refusedOrNot(t *testing.T, p *policy.Policy, err error) {
	t.Helper()
	if (p == nil) != (err != nil) || p != nil && len(p.Version()) > 64 {
		t.Fatalf("%v, %v", p, err)
	}
	if problems, ok := errors.AsType[policy.Problems](err); err != nil && (!ok || !errors.Is(err, policy.ErrPolicy) || len(problems) == 0 || len(problems) > 20) {
		t.Errorf("%v is no list of problems", err)
	}
	if err != nil {
		for line := range strings.SplitSeq(strings.TrimPrefix(err.Error(), "policy: refused: "), "\n") {
			if len(line) > 200 {
				t.Errorf("a line of %d bytes: %q", len(line), line)
			}
		}
	}
}
