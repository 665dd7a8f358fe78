package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/vectors"
)

// The command agrees with every vector: with the layer that refuses, and of a good
// one with what must be read.
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
	var refused bytes.Buffer
	if code := execute(context.Background(), []string{"keyring", "list", "--dir", dir}, strings.NewReader(""), &refused, &refused); code != exitUsage || !strings.Contains(refused.String(), "published") {
		t.Errorf("the vectors' keys without --insecure-sample-keys: exit code %d: %s", code, refused.String())
	}
	ran, read := 0, 0
	for _, v := range all {
		if strings.Contains(v.Text, "\n") {
			continue // blobctl reads one envelope a line
		}
		ran++
		args := []string{"--json", "--insecure-sample-keys", "--keyring", dir, "--policy", policyFile, "--app", v.App, "--tenant", v.Tenant, "--at", strconv.FormatInt(v.Now.Unix(), 10)}
		if v.Purpose != "attribute" {
			args = append(args, "--"+v.Purpose)
		}
		if v.Session != "" {
			args = append(args, "--session", v.Session)
		}
		if v.Expect != "success" {
			got := answer(t, v, exitRefused, append([]string{"verify"}, args...)...)
			if got.Good || reasons[v.Expect] == "" || !strings.HasPrefix(got.Reason, reasons[v.Expect]) {
				t.Errorf("%s: verify answers %+v, want %q", v.Name, got, reasons[v.Expect])
			}
			continue
		}
		read++
		want := wanted(v)
		if v.Purpose == "manifest" {
			same(t, v, "verify", answer(t, v, exitGood, append([]string{"verify"}, args...)...), want)
			continue
		}
		same(t, v, "open", answer(t, v, exitGood, append([]string{"open", "--reveal"}, args...)...), want)
		want.Value, want.Bytes = nil, ""
		same(t, v, "verify", answer(t, v, exitGood, append([]string{"verify"}, args...)...), want)
	}
	t.Logf("%d vectors, %d of them read and compared", ran, read)
	if ran < len(all)-3 || read < 20 {
		t.Errorf("only %d vectors ran, and %d were read", ran, read)
	}
}

// reasons are how the message of each outcome begins.
var reasons = map[string]string{
	"malformed": seal.ErrMalformed.Error(), "unknown key": seal.ErrUnknownKey.Error(), "auth": seal.ErrAuth.Error(),
	"expired": policy.ErrExpired.Error(), "not yet valid": policy.ErrNotYetValid.Error(), "not allowed": policy.ErrNotAllowed.Error(),
	"binding": policy.ErrBinding.Error(),
}

// verdict is what docs/blobctl.md promises of verify and open, as far as a
// vector can tell it.
type verdict struct {
	Good    bool            `json:"good"`
	Name    string          `json:"name"`
	Session string          `json:"session"`
	Fence   uint64          `json:"fence"`
	Gen     uint64          `json:"gen"`
	Blobs   int             `json:"envelopes"`
	End     string          `json:"absolute"`
	Stale   bool            `json:"stale"`
	JTI     string          `json:"jti"`
	Once    bool            `json:"once"`
	Issued  string          `json:"issued"`
	Expires string          `json:"expires"`
	Policy  string          `json:"policy"`
	Reason  string          `json:"reason"`
	Value   json.RawMessage `json:"value,omitempty"`
	Bytes   string          `json:"bytes,omitempty"`
}

// wanted is a good vector's verdict. The policy cuts no vector's life short.
func wanted(v vectors.Vector) verdict {
	c, moment := v.Claims, func(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }
	if m := v.Manifest; m != nil {
		return verdict{Good: true, Session: m.SID, Fence: m.Fence, Gen: m.Gen, Blobs: len(m.Set), Issued: moment(m.IAT), Expires: moment(m.EXP), End: moment(m.AXP), Policy: m.PV, Stale: v.Stale}
	}
	out := verdict{Good: true, Stale: v.Stale, Name: c.Name, Session: c.SID, Gen: c.Gen, JTI: c.JTI, Once: c.Once, Issued: moment(c.IAT), Expires: moment(c.EXP), Policy: c.PV}
	if v.Binary {
		out.Bytes = base64.RawURLEncoding.EncodeToString(v.Value)
	} else {
		out.Value = v.Value
	}
	return out
}

// answer runs blobctl on a vector and reads its one line.
func answer(t *testing.T, v vectors.Vector, want int, args ...string) (out verdict) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := execute(context.Background(), args, strings.NewReader(v.Text+"\n"), &stdout, &stderr); code != want {
		t.Errorf("%s: %s exits with %d, want %d: %s%s", v.Name, args[0], code, want, stdout.String(), stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		t.Errorf("%s: %s: %v: %q", v.Name, args[0], err, stdout.String())
	}
	return out
}

func same(t *testing.T, v vectors.Vector, command string, got, want verdict) {
	t.Helper()
	gotText, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	wantText, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(gotText, wantText) {
		t.Errorf("%s: %s answers %s, want %s", v.Name, command, gotText, wantText)
	}
}
