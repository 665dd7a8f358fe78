// Package vectors holds the test vectors of the wire format, one scenario a
// file, for this and other implementations. README.md describes the files.
package vectors

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	Purpose string // attribute or manifest
	App     string
	Tenant  string
	Session string // required session ID, or empty
	Now     time.Time
	Comment string
	Text    string // the envelope, or what claims to be one
}

// All reads every vector. It is an error if there is none.
func All() ([]Vector, error) {
	entries, err := files.ReadDir(".")
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
	v := Vector{Name: name, Text: strings.TrimSuffix(text, "\n")}
	for _, line := range strings.Split(head, "\n") {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "expect":
			v.Expect = value
		case "purpose":
			v.Purpose = value
		case "app":
			v.App = value
		case "tenant":
			v.Tenant = value
		case "session":
			v.Session = value
		case "comment":
			v.Comment = value
		case "now":
			seconds, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return Vector{}, fmt.Errorf("vectors: %s: now: %w", name, err)
			}
			v.Now = time.Unix(seconds, 0)
		default:
			return Vector{}, fmt.Errorf("vectors: %s has an unknown line %q", name, key)
		}
	}
	if v.Expect == "" || v.Purpose == "" || v.Now.IsZero() {
		return Vector{}, fmt.Errorf("vectors: %s lacks expect, purpose or now", name)
	}
	return v, nil
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
