package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/vectors"
)

// The command agrees with every vector of an attribute.
func TestVerifyAgreesWithTheVectors(t *testing.T) {
	all, err := vectors.All()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := vectors.WriteKeys(dir); err != nil {
		t.Fatal(err)
	}
	policyFile := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(policyFile, vectors.Policy(), 0o600); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, v := range all {
		if v.Purpose != "attribute" || strings.Contains(v.Text, "\n") {
			continue // blobctl reads one envelope a line
		}
		ran++
		args := []string{"verify", "--insecure-sample-keys", "--keyring", dir, "--policy", policyFile, "--app", v.App, "--tenant", v.Tenant, "--at", strconv.FormatInt(v.Now.Unix(), 10)}
		if v.Session != "" {
			args = append(args, "--session", v.Session)
		}
		want := exitRefused
		if v.Expect == "success" {
			want = exitGood
		}
		var out, errOut bytes.Buffer
		if code := execute(context.Background(), args, strings.NewReader(v.Text+"\n"), &out, &errOut); code != want {
			t.Errorf("%s: exit code %d, want %d: %s%s", v.Name, code, want, out.String(), errOut.String())
		}
	}
	if ran < 50 {
		t.Errorf("only %d vectors ran", ran)
	}
}
