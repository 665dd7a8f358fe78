package policy

import (
	"fmt"
	"sort"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxFile is the largest policy file read, in bytes.
const MaxFile = 1 << 20

type file struct {
	Version    *int                `json:"version"`
	Session    *fileSession        `json:"session"`
	Attributes map[string]fileRule `json:"attributes"`
}

type fileSession struct {
	Idle          seconds `json:"idle"`
	Absolute      seconds `json:"absolute"`
	MaxAttributes int     `json:"max_attributes"`
	MaxBytes      int     `json:"max_bytes"`
	Leeway        seconds `json:"leeway"`
}

type fileRule struct {
	TTL      seconds `json:"ttl"`
	Idle     seconds `json:"idle"`
	Absolute seconds `json:"absolute"`
	Once     bool    `json:"once"`
	Required bool    `json:"required"`
	OnExpiry Action  `json:"on_expiry"`
	MaxBytes int     `json:"max_bytes"`
}

// seconds reads a duration such as "90s", "30m" or "1h30m".
type seconds time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *seconds) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d <= 0 || d%time.Second != 0 {
		return fmt.Errorf("want a duration of whole seconds above zero, such as \"90s\" or \"1h30m\"")
	}
	*s = seconds(d)
	return nil
}

// UnmarshalText implements encoding.TextUnmarshaler: "drop" or "refuse".
func (a *Action) UnmarshalText(text []byte) error {
	switch string(text) {
	case "drop":
		*a = Drop
	case "refuse":
		*a = Refuse
	default:
		return fmt.Errorf(`want "drop" or "refuse"`)
	}
	return nil
}

// Parse reads a policy file: strict JSON (RFC 8259) without duplicate or
// unknown members, at most [MaxFile] bytes. The smallest useful one is
//
//	{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{"ttl":"1h"}}}
//
// Errors wrap [ErrPolicy] and name the place or the rule.
func Parse(text []byte) (*Policy, error) {
	if len(text) > MaxFile {
		return nil, fmt.Errorf("%w: over %d bytes", ErrPolicy, MaxFile)
	}
	var f file
	if err := json.Unmarshal(text, &f, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%w: %.200s", ErrPolicy, place(text, err))
	}
	if f.Version == nil || f.Session == nil {
		return nil, refuse("the file", `needs "version" and "session"`)
	}
	names := make([]string, 0, len(f.Attributes))
	for name := range f.Attributes {
		names = append(names, name)
	}
	sort.Strings(names)
	rules := make([]Rule, 0, len(names))
	for _, name := range names {
		r := f.Attributes[name]
		rules = append(rules, Rule{
			Name: name, TTL: time.Duration(r.TTL), Idle: time.Duration(r.Idle), Absolute: time.Duration(r.Absolute),
			Once: r.Once, Required: r.Required, OnExpiry: r.OnExpiry, MaxBytes: r.MaxBytes,
		})
	}
	s := f.Session
	return New(*f.Version, SessionRule{
		Idle: time.Duration(s.Idle), Absolute: time.Duration(s.Absolute),
		MaxAttributes: s.MaxAttributes, MaxBytes: s.MaxBytes, Leeway: time.Duration(s.Leeway),
	}, rules...)
}

// place turns a decoder's byte offset into a line.
func place(text []byte, err error) string {
	var offset int64 = -1
	if e, ok := err.(*json.SemanticError); ok {
		offset = e.ByteOffset
		if e.Err != nil {
			err = fmt.Errorf("%s: %w", e.JSONPointer, e.Err)
		}
	}
	if e, ok := err.(*jsontext.SyntacticError); ok {
		offset = e.ByteOffset
	}
	if offset < 0 || offset > int64(len(text)) {
		return err.Error()
	}
	line := 1
	for _, c := range text[:offset] {
		if c == '\n' {
			line++
		}
	}
	return fmt.Sprintf("line %d: %v", line, err)
}
