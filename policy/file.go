package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxFile is the largest policy file read, in bytes.
const MaxFile = 1 << 20

// Parse reads a policy file: strict JSON (RFC 8259) without duplicate or
// unknown members, at most [MaxFile] bytes; [Schema] describes it. The smallest
// useful one is
//
//	{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{"ttl":"1h"}}}
//
// The error is a [Problems], which wraps [ErrPolicy]: what is wrong, where, and
// what would be right.
func Parse(text []byte) (*Policy, error) {
	l, problems := readLayer(text, Source{Origin: FromFile})
	if !l.whole {
		return nil, problems.err()
	}
	top := Source{Origin: FromFile, Line: 1, Column: 1}
	if !l.versioned || l.session.from == nil {
		problems.add(top, "", "", `needs "version" and "session"`)
	}
	if l.session.from == nil {
		l.session.from, l.session.misread = sources{"": top}, map[string]bool{"idle": true, "absolute": true}
	}
	return build(fmt.Sprint(l.revision), 0, l.session, l.rules, problems)
}

// layer is what one file says: a policy, or an overlay over one.
type layer struct {
	whole     bool // it was read to its end: what is missing is missing
	versioned bool // it says a version
	revision  int
	session   declaredSession // from is nil: none
	rules     []declared
}

// reader reads a file token by token, so that each name has its place and one
// mistake does not hide the next.
type reader struct {
	text     []byte
	dec      *jsontext.Decoder
	lines    []int // where each line begins
	file     Source
	problems Problems
}

// readLayer reads a file. Beside mistakes of form it has what was read well.
func readLayer(text []byte, file Source) (l layer, problems Problems) {
	if len(text) > MaxFile {
		return l, Problems{{file, "", "", fmt.Sprintf("over %d bytes", MaxFile)}}
	}
	r := &reader{text: text, file: file, lines: []int{0}}
	for i, c := range text {
		if c == '\n' {
			r.lines = append(r.lines, i+1)
		}
	}
	// Duplicate names are found by object, which goes on after them.
	r.dec = jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true))
	l.whole = r.dec.PeekKind() == '{'
	if err := r.layer(&l); err != nil {
		r.syntax(err)
		l.whole = false
	}
	return l, r.problems
}

func (r *reader) layer(l *layer) error {
	err := r.object("", []string{"$schema", "version", "session", "attributes"}, func(name string, at Source) error {
		switch name {
		case "$schema": // for editors
			return r.value(at, "", name, "want a string", func(v jsontext.Value) bool { return v.Kind() == '"' })
		case "version":
			l.versioned = true
			return r.value(at, "", name, fmt.Sprintf("want a whole number from 0 to %d", int64(maxNumber)), func(v jsontext.Value) (ok bool) {
				l.revision, ok = number(v)
				return ok
			})
		case "session":
			l.session.from, l.session.misread = sources{"": at}, map[string]bool{}
			return readMembers(r, name, sessionMembers, &l.session.SessionRule, l.session.from, l.session.misread)
		}
		return r.object("", nil, func(name string, at Source) error {
			d := declared{Rule{Name: name}, sources{"": at}, map[string]bool{}}
			err := readMembers(r, quoted(name), ruleMembers, &d.Rule, d.from, d.misread)
			l.rules = append(l.rules, d)
			return err
		})
	})
	if err != nil {
		return err
	}
	at := r.next()
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		r.problems.add(at, "", "", "want nothing after the policy's closing brace")
	}
	return nil
}

// readMembers reads one rule. A member that does not have the form is left as
// it was, and misread.
func readMembers[R any](r *reader, rule string, members []member[R], into *R, from sources, misread map[string]bool) error {
	names := make([]string, len(members))
	noObject := r.dec.PeekKind() != '{'
	for i, m := range members {
		names[i] = m.name
		misread[m.name] = noObject
	}
	return r.object(rule, names, func(name string, at Source) error {
		m := members[slices.Index(names, name)]
		from[name] = at
		return r.value(at, rule, name, m.want, func(v jsontext.Value) bool {
			read := *into
			if misread[name] = !m.read(&read, v); !misread[name] {
				*into = read
			}
			return !misread[name]
		})
	})
}

// object calls each for every member of an object. Names that are not known
// (nil: any is) or stand there twice are problems, and skipped. The error is of
// syntax.
func (r *reader) object(rule string, known []string, each func(name string, at Source) error) error {
	at := r.next()
	if kind := r.dec.PeekKind(); kind != '{' {
		if err := r.dec.SkipValue(); err != nil {
			return err
		}
		r.problems.add(at, rule, "", "want an object in braces, not %v", kind)
		return nil
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for r.dec.PeekKind() != '}' { // at bad syntax ReadToken says why
		at := r.next()
		token, err := r.dec.ReadToken()
		if err != nil {
			return err
		}
		name, read := token.String(), each
		switch {
		case seen[name]:
			r.problems.add(at, rule, quoted(name), "is there twice: want it once")
			read = r.skip
		case known != nil && !slices.Contains(known, name):
			r.problems.add(at, rule, quoted(name), "is unknown: want %s", suggest(name, known))
			read = r.skip
		}
		seen[name] = true
		if err := read(name, at); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return err
}

func (r *reader) skip(string, Source) error { return r.dec.SkipValue() }

// suggest names what was probably meant, or all that is known.
func suggest(name string, known []string) string {
	for _, k := range known {
		if strings.EqualFold(strings.ReplaceAll(name, "-", "_"), k) {
			return k
		}
	}
	return "one of " + strings.Join(known, ", ")
}

// value reads one value; it is a problem if read does not like it.
func (r *reader) value(at Source, rule, name, want string, read func(jsontext.Value) bool) error {
	v, err := r.dec.ReadValue()
	if err == nil && !read(v) {
		r.problems.add(at, rule, name, "is %s: %s", excerpt(v), want)
	}
	return err
}

// excerpt shows a value on one line.
func excerpt(v jsontext.Value) string {
	const limit = 40
	switch v.Kind() {
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	if len(v) > limit {
		return strings.ToValidUTF8(string(v[:limit]), "") + "…"
	}
	return string(v)
}

// next is where the next token begins.
func (r *reader) next() Source {
	offset := int(r.dec.InputOffset())
	for offset < len(r.text) && strings.IndexByte(" \t\r\n,:", r.text[offset]) >= 0 {
		offset++
	}
	return r.at(offset)
}

func (r *reader) at(offset int) Source {
	at := r.file
	at.Line = sort.SearchInts(r.lines, offset+1)
	at.Column = offset - r.lines[at.Line-1] + 1
	return at
}

// syntax notes what ended the reading.
func (r *reader) syntax(err error) {
	at, reason := r.at(len(r.text)), "ends too early"
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = r.at(min(int(e.ByteOffset), len(r.text)))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			reason = e.Err.Error()
		}
	}
	r.problems.add(at, "", "", "not JSON: %s", reason)
}
