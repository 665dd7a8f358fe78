package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Origin is where a value was said.
type Origin uint8

// The origins.
const (
	FromDefault Origin = iota // nobody said it
	FromGo
	FromFile
	FromOverlay
)

// Source is the place where a value was said.
type Source struct {
	Origin  Origin
	Overlay int // which overlay, from 1; 0 if none
	// Line and Column are where its name stands in the file, from 1; a column
	// is a byte. Zero without a file.
	Line, Column int
}

// String says the place in words, without a file's name, which nobody told us.
func (s Source) String() string {
	switch s.Origin {
	case FromGo:
		return "Go"
	case FromFile:
		return fmt.Sprintf("line %d", s.Line)
	case FromOverlay:
		return fmt.Sprintf("overlay %d line %d", s.Overlay, s.Line)
	}
	return "default"
}

// Problem is one thing that is wrong with a policy.
type Problem struct {
	Source Source
	Name   string // attribute, "session", or empty for the file as a whole
	Rule   string // member of the rule, such as "ttl"; may be empty
	Text   string // what is wrong, and what would be right
}

const (
	maxProblems = 20  // told at once
	maxProblem  = 200 // bytes of one
)

// Error is one line of at most 200 bytes, such as
//
//	line 4, column 9: cart.ttl: 13h outlives the session's absolute 12h: want at most that
//
// without the place if there is no Source.
func (p Problem) Error() string {
	line := p.Text
	if subject := strings.Trim(p.Name+"."+p.Rule, "."); subject != "" {
		line = subject + ": " + line
	}
	if p.Source.Line > 0 {
		line = fmt.Sprintf("%v, column %d: %s", p.Source, p.Source.Column, line)
	}
	if len(line) <= maxProblem {
		return line
	}
	line = line[:maxProblem-len("…")]
	for len(line) > 0 && !utf8.ValidString(line) {
		line = line[:len(line)-1]
	}
	return line + "…"
}

// Problems are all that was found, at most 20, in the order of the file. They
// wrap [ErrPolicy].
type Problems []Problem

// Error has one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return ErrPolicy.Error() + ": " + strings.Join(lines, "\n")
}

// Unwrap gives [ErrPolicy] to errors.Is.
func (ps Problems) Unwrap() error { return ErrPolicy }

// add notes a problem, unless there are enough.
func (ps *Problems) add(at Source, name, rule, format string, args ...any) {
	if len(*ps) < maxProblems {
		*ps = append(*ps, Problem{at, name, rule, fmt.Sprintf(format, args...)})
	}
}

// err is nil without problems; with some, they are in order.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return a.Source.compare(b.Source) })
	return ps
}

// compare orders places as they are read.
func (s Source) compare(t Source) int {
	return cmp.Or(cmp.Compare(s.Origin, t.Origin), cmp.Compare(s.Overlay, t.Overlay), cmp.Compare(s.Line, t.Line), cmp.Compare(s.Column, t.Column))
}
