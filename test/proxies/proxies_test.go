package main

import (
	"os"
	"strings"
	"testing"
)

// docs/bayeux.md shows the configurations that are run.
func TestDocumentShowsConfigurations(t *testing.T) {
	doc, err := os.ReadFile("../../docs/bayeux.md")
	if err != nil {
		t.Fatal(err)
	}
	for language, config := range map[string]string{"nginx": nginxConf, "haproxy": haproxyCfg} {
		if !strings.Contains(string(doc), "\n```"+language+"\n"+config+"```\n") {
			t.Errorf("docs/bayeux.md does not show %s's configuration as it is", language)
		}
	}
}

// Each check runs behind both proxies, parking and not.
func TestTrials(t *testing.T) {
	all := trials()
	if len(all) != 68 {
		t.Errorf("%d trials, there were 68", len(all))
	}
	seen := make(map[string]bool)
	for _, tr := range all {
		if seen[tr.name()] {
			t.Errorf("%s twice", tr.name())
		}
		seen[tr.name()] = true
	}
}

func TestNoTrialAtAllFails(t *testing.T) {
	if err := run(t.Context(), "no such trial", 1); err == nil {
		t.Error("passed")
	}
}
