package policy_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sealedblob/sealedblob/policy"
)

func samples(t *testing.T, kind string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/" + kind + "/*.json")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d samples of %s, %v", len(files), kind, err)
	}
	out := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[file] = text
	}
	return out
}

// The schema's side of the same samples is in interop/.
func TestSamples(t *testing.T) {
	for file, text := range samples(t, "ok") {
		if _, err := policy.Parse(text); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, kind := range []string{"form", "meaning"} {
		for file, text := range samples(t, kind) {
			p, err := policy.Parse(text)
			problems, ok := errors.AsType[policy.Problems](err)
			if p != nil || !ok || !errors.Is(err, policy.ErrPolicy) {
				t.Errorf("%s: Parse = %v, %v", file, p, err)
				continue
			}
			for _, problem := range problems {
				if problem.Source.Origin != policy.FromFile || problem.Source.Line < 1 || problem.Source.Column < 1 || problem.Text == "" || len(problem.Error()) > 200 {
					t.Errorf("%s: %+v", file, problem)
				}
			}
		}
	}
}

// The schema names exactly the members that the loader reads, and their words
// and defaults. What the words mean to a validator is tested in interop/.
func TestSchemaNamesWhatIsRead(t *testing.T) {
	type object struct {
		Properties map[string]struct {
			Enum    []string `json:"enum"`
			Default any      `json:"default"`
			Ref     string   `json:"$ref"`
		} `json:"properties"`
	}
	var schema struct {
		Defs struct{ Session, Attribute object } `json:"$defs"`
	}
	if err := json.Unmarshal([]byte(policy.Schema()), &schema); err != nil {
		t.Fatal(err)
	}
	p := parse(t, `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"a":{}}}`)
	read := map[string]map[string]any{"": {}, "a": {}}
	for _, v := range p.Explain() {
		if n, ok := v.Value.(int); ok {
			v.Value = float64(n)
		}
		read[v.Attribute][v.Rule] = v.Value
	}
	for attribute, described := range map[string]object{"": schema.Defs.Session, "a": schema.Defs.Attribute} {
		names := slices.Sorted(maps.Keys(described.Properties))
		if want := slices.Sorted(maps.Keys(read[attribute])); !slices.Equal(names, want) {
			t.Errorf("the schema has %v, the loader %v", names, want)
		}
		for name, property := range described.Properties {
			if property.Default != nil && property.Default != read[attribute][name] {
				t.Errorf("%s: the schema's default is %v, the loader's %v", name, property.Default, read[attribute][name])
			}
			if property.Ref == "" && property.Default == nil {
				t.Errorf("%s: the schema has no default", name)
			}
			for _, word := range property.Enum {
				rule := `{"` + name + `":"` + word + `"}`
				if name == "burn" {
					rule = `{"once":true,"ttl":"1h","burn":"` + word + `"}`
				}
				parse(t, `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"a":`+rule+`}}`)
			}
		}
	}
}
