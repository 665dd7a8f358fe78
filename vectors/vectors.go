// Package vectors holds the test vectors of the wire format, one scenario a
// file, for this and other implementations. README.md describes the files.
package vectors

import (
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

//go:embed *.txt keys policy.json
var files embed.FS

// Vector is one scenario.
type Vector struct {
	Name    string
	Expect  string // the outcome, named in README.md
	Purpose string // attribute, manifest or grant
	App     string
	Tenant  string
	Session string // required session ID, or empty
	Now     time.Time
	Comment string
	Text    string // the envelope, or what claims to be one

	Stale bool // of success: the envelope's key is not the primary one at Now

	// What must be read from a vector that expects success: Claims with Value, or
	// Manifest; nil in all others.
	Claims   *Claims
	Manifest *Manifest
	Value    []byte // JSON as it was written, or bytes if Binary
	Binary   bool
}

// Claims are what an attribute's or grant's envelope says beside its value (SPEC §4).
type Claims struct {
	JTI  string `json:"jti"`
	UID  string `json:"uid"`
	IAT  int64  `json:"iat"`
	EXP  int64  `json:"exp"`
	AXP  int64  `json:"axp"`
	SID  string `json:"sid"`
	Gen  uint64 `json:"gen"`
	Name string `json:"name"`
	PV   string `json:"pv"`
	Once bool   `json:"once"`
	Pad  int    `json:"pad"`
}

// Manifest is what a manifest's envelope says (SPEC §5).
type Manifest struct {
	SID   string  `json:"sid"`
	Sub   string  `json:"sub"`
	SAT   int64   `json:"sat"`
	Fence uint64  `json:"fence"`
	Gen   uint64  `json:"gen"`
	IAT   int64   `json:"iat"`
	EXP   int64   `json:"exp"`
	AXP   int64   `json:"axp"`
	BND   string  `json:"bnd"`
	PV    string  `json:"pv"`
	Set   []Entry `json:"set"`
}

// Entry is one envelope of a manifest.
type Entry struct {
	Slot string `json:"slot"`
	JTI  string `json:"jti"`
	EXP  int64  `json:"exp"`
}

// All reads every vector. It is an error if there is none, or a file that is not
// of the form that README.md describes.
func All() ([]Vector, error) { return all(files) }

func all(files fs.ReadFileFS) ([]Vector, error) {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, err
	}
	var all []Vector
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".txt") {
			continue
		}
		text, err := files.ReadFile(e.Name())
		if err != nil {
			return nil, err
		}
		v, err := parse(strings.TrimSuffix(e.Name(), ".txt"), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	if len(all) == 0 {
		return nil, errors.New("vectors: there are none")
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

// parse reads "key: value" lines, an empty line, and the text up to the file's
// last line feed.
func parse(name, file string) (Vector, error) {
	head, text, ok := strings.Cut(file, "\n\n")
	if !ok || !strings.HasSuffix(text, "\n") {
		return Vector{}, fmt.Errorf("vectors: %s has no body", name)
	}
	lines := map[string]string{}
	for _, line := range strings.Split(head, "\n") {
		key, value, ok := strings.Cut(line, ":")
		if _, twice := lines[key]; !ok || twice || !slices.Contains(known, key) {
			return Vector{}, fmt.Errorf("vectors: %s has an unknown line or one twice: %q", name, key)
		}
		lines[key] = strings.TrimSpace(value)
	}
	v := Vector{
		Name: name, Text: strings.TrimSuffix(text, "\n"), Expect: lines["expect"], Purpose: lines["purpose"],
		App: lines["app"], Tenant: lines["tenant"], Session: lines["session"], Comment: lines["comment"],
	}
	seconds, err := strconv.ParseInt(lines["now"], 10, 64)
	if err != nil || v.Expect == "" || !slices.Contains(purposes, v.Purpose) {
		return Vector{}, fmt.Errorf("vectors: %s lacks expect, purpose or now", name)
	}
	v.Now = time.Unix(seconds, 0)
	if err := v.parseReads(lines); err != nil {
		return Vector{}, fmt.Errorf("vectors: %s: %w", name, err)
	}
	return v, nil
}

var purposes = []string{"attribute", "manifest", "grant"}

var known = []string{"expect", "purpose", "app", "tenant", "session", "now", "comment", "stale", "reads", "value", "bytes"}

// parseReads insists that success, and nothing else, says what must be read.
func (v *Vector) parseReads(lines map[string]string) error {
	reads, hasReads := lines["reads"]
	value, hasValue := lines["value"]
	raw, hasBytes := lines["bytes"]
	good, claims := v.Expect == "success", v.Purpose != "manifest"
	if stale, has := lines["stale"]; has {
		if v.Stale = true; !good || stale != "true" {
			return errors.New("stale is true, and of success alone")
		}
	}
	if hasReads != good || (hasValue != hasBytes) != (good && claims) || hasValue && hasBytes {
		return errors.New("reads, value or bytes are missing or too many")
	}
	switch {
	case !good:
		return nil
	case !claims:
		v.Manifest = &Manifest{}
		return strict(reads, v.Manifest)
	case hasValue:
		v.Value = []byte(value)
	default:
		v.Binary = true
		var err error
		if v.Value, err = base64.RawURLEncoding.Strict().DecodeString(raw); err != nil {
			return err
		}
	}
	v.Claims = &Claims{}
	return strict(reads, v.Claims)
}

// strict decodes text, which has no other members than out.
func strict(text string, out any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(out); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something behind the JSON")
	}
	return nil
}

// Policy is the policy file of all vectors.
func Policy() []byte {
	text, err := files.ReadFile("policy.json")
	if err != nil {
		panic(err) // embedded
	}
	return text
}

// WriteKeys copies the vectors' keyring into dir with the modes that a keyring
// must have. These keys are public: seal refuses them, but with
// InsecureSampleKeys.
func WriteKeys(dir string) error {
	entries, err := files.ReadDir("keys")
	if err != nil {
		return err
	}
	for _, e := range entries {
		content, err := files.ReadFile("keys/" + e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
