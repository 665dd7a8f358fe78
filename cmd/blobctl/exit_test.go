package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// Paths and values in a message may be anybody's: they must not reach the
// terminal as controls, start a second line, or fill a log.
func TestMessagesAreOneSafeLine(t *testing.T) {
	for _, hostile := range []string{"a\x1b[31mb", "a\nblobctl: all is good", "a\r\x00\u202eb", strings.Repeat("x", 1<<20)} {
		var out bytes.Buffer
		code := report(&out, usage("open %s", hostile))
		text := out.String()
		if code != exitUsage || strings.ContainsAny(text[:len(text)-1], "\n\r\x1b\x00\u202e") || len(text) > 700 {
			t.Errorf("report(%.20q) printed %.200q", hostile, text)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{seal.ErrMalformed, 3}, {seal.ErrUnknownKey, 3}, {seal.ErrAuth, 3},
		{policy.ErrExpired, 3}, {policy.ErrNotYetValid, 3}, {policy.ErrBinding, 3}, {policy.ErrNotAllowed, 3},
		{session.ErrIncomplete, 3}, {session.ErrRolledBack, 3}, {session.ErrRevoked, 3}, {session.ErrSuperseded, 3},
		{replay.ErrReplayed, 4}, {replay.ErrBeforeEpoch, 3}, {replay.ErrBeyondHorizon, 3},
		{replay.ErrFull, 1}, {replay.ErrClosed, 1}, {errors.New("the disk is on fire"), 1},
		{seal.ErrRing, 2}, {policy.ErrPolicy, 2}, {seal.ErrNoPrimary, 2},
	} {
		var f *failure
		if err := classify(fmt.Errorf("context: %w", c.err)); !errors.As(err, &f) || f.code != c.want {
			t.Errorf("%v has exit code %v, want %d", c.err, f, c.want)
		}
	}
}

func TestTheWorstDecides(t *testing.T) {
	good, unknown, spent, refused := error(nil), fail(exitFailure, errors.New("x")), fail(exitSpent, errors.New("x")), fail(exitRefused, errors.New("x"))
	order := []error{good, unknown, spent, refused}
	for i, a := range order {
		for j, b := range order {
			if got := worst(a, b); got != order[max(i, j)] {
				t.Errorf("worst(%v, %v) = %v", a, b, got)
			}
		}
	}
}
