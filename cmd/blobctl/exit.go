package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// Exit codes, as in docs/blobctl.md. Scripts rely on them.
const (
	exitGood    = 0
	exitFailure = 1 // could not tell: I/O, store
	exitUsage   = 2 // flags, arguments, configuration
	exitRefused = 3
	exitSpent   = 4
)

// failure is an error with its exit code and, for newcomers, a hint.
type failure struct {
	code int
	err  error
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(code int, err error) error { return &failure{code: code, err: err} }

func usage(format string, args ...any) error { return fail(exitUsage, fmt.Errorf(format, args...)) }

// classify gives an error of the library its exit code.
func classify(err error) error {
	var f *failure
	switch {
	case err == nil, errors.As(err, &f):
		return err
	case errors.Is(err, replay.ErrReplayed):
		return fail(exitSpent, err)
	case errors.Is(err, seal.ErrUnknownKey):
		return &failure{exitRefused, err, "the envelope was sealed under a key that is not in this keyring, or is retired or revoked"}
	case errors.Is(err, replay.ErrBeforeEpoch):
		return &failure{exitRefused, err, "the store is younger than the envelope and can't know whether it was spent; seal --replay makes the store first"}
	case errors.Is(err, seal.ErrAuth):
		return &failure{exitRefused, err, "changed, or sealed for another --app, --tenant or purpose: a grant wants --grant, a manifest --manifest, an attribute neither"}
	case session.Outward(err) == session.ErrRejected:
		return fail(exitRefused, err)
	case errors.Is(err, seal.ErrRing):
		return keyringError(err)
	case errors.Is(err, policy.ErrPolicy), errors.Is(err, seal.ErrNoPrimary):
		return fail(exitUsage, err)
	}
	return fail(exitFailure, err)
}

// worst keeps the more serious of two results: refused beats spent beats could
// not tell; any of them beats good.
func worst(a, b error) error {
	rank := func(err error) int {
		var f *failure
		if !errors.As(err, &f) {
			return 0
		}
		return map[int]int{exitUsage: 1, exitFailure: 2, exitSpent: 3, exitRefused: 4}[f.code]
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// report prints one line, and a hint, and returns the exit code. Errors that
// are not ours come from the flag parser.
func report(w io.Writer, err error) int {
	f := &failure{code: exitUsage, err: err, hint: "see blobctl --help"}
	errors.As(err, &f)
	fmt.Fprintf(w, "blobctl: %s\n", printable(f.err.Error()))
	if f.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", f.hint)
	}
	return f.code
}

// printable keeps a message on one line and free of terminal controls, since
// paths and values in it may be anybody's.
func printable(text string) string {
	const limit = 600
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return ';'
		}
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, text)
}
