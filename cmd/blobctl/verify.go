package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
	"github.com/spf13/cobra"
)

const replayHelp = "also look whether a once-only envelope is spent, in this store: a `URL`, see blobctl replay --help"

func newVerify() *cobra.Command {
	var f checkFlags
	var manifest bool
	cmd := &cobra.Command{
		Use: "verify --keyring DIR --policy FILE --app APP [FILE|-]", Args: cobra.MaximumNArgs(1),
		Short: "Check envelopes, one a line; write nothing",
		Long: `Check each envelope: form, key, authenticity, claims, session (if given), policy
and, with --replay, whether it is spent. No store is written to. The worst result
decides the exit code. A single envelope says nothing about the rest of its set.
With --manifest they are manifests: their times are judged, not their holder.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if manifest {
				return f.manifests(cmd, args)
			}
			return f.each(cmd, args, "verify", func(v session.Verifier, text string, id seal.ID, now time.Time) (session.Verified, error) {
				return v.Verify(cmd.Context(), text, id, now)
			}, printVerified)
		},
	}
	f.add(cmd)
	f.addReplay(cmd, replayHelp)
	cmd.Flags().BoolVar(&manifest, "manifest", false, "the envelopes are manifests")
	cmd.MarkFlagsMutuallyExclusive("manifest", "grant")
	cmd.MarkFlagsMutuallyExclusive("manifest", "replay")
	return cmd
}

func newOpen() *cobra.Command {
	var f checkFlags
	var reveal bool
	cmd := &cobra.Command{
		Use: "open --keyring DIR --policy FILE --app APP --reveal [FILE|-]", Args: cobra.MaximumNArgs(1),
		Short: "Check envelopes and print their values",
		Long: `Check each envelope as verify does, and print its value: JSON on a line of its own,
bytes as they are. The value is shown only with --reveal.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !reveal {
				return &failure{exitUsage, fmt.Errorf("open prints plaintext only with --reveal"), "verify checks an envelope without showing its value"}
			}
			return f.each(cmd, args, "open", func(v session.Verifier, text string, id seal.ID, now time.Time) (session.Verified, error) {
				return v.Verify(cmd.Context(), text, id, now)
			}, printValue)
		},
	}
	f.add(cmd)
	f.addReplay(cmd, replayHelp)
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print the plaintext")
	return cmd
}

func newTake() *cobra.Command {
	f := checkFlags{may: mayWrite}
	var attempt string
	cmd := &cobra.Command{
		Use: "take --keyring DIR --policy FILE --app APP --replay URL [FILE|-]", Args: cobra.MaximumNArgs(1),
		Short: "Check once-only envelopes and spend them",
		Long: `Check each envelope as verify does and then spend its right, once, for all users of
the store: exit code 0 if it is ours now, 4 if it was already spent. Repeat a take
whose answer may be lost with the same --attempt: choose it before the first try.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			owner := seal.NewID()
			if attempt != "" {
				var err error
				if owner, err = seal.ParseID(attempt); err != nil || owner == (seal.ID{}) {
					return usage("--attempt wants 22 characters of base64url: your own random 128 bits")
				}
			}
			return f.each(cmd, args, "take", func(v session.Verifier, text string, id seal.ID, now time.Time) (session.Verified, error) {
				out, _, err := v.Take(cmd.Context(), text, id, now, replay.Owner(owner))
				if session.Outward(err) == session.ErrUnavailable {
					err = &failure{exitFailure, err, "it may be spent or not; repeat with --attempt " + owner.String()}
				}
				return out, err
			}, printVerified)
		},
	}
	f.add(cmd)
	f.addReplay(cmd, "spend in this store: a `URL`, see blobctl replay --help (required)")
	_ = cmd.MarkFlagRequired("replay")
	cmd.Flags().StringVar(&attempt, "attempt", "", "your own `TOKEN`, to repeat a take safely")
	return cmd
}

type printer func(cmd *cobra.Command, command string, line int, v session.Verified, asJSON bool) error

// each checks every line of the input with one verifier and prints the good ones.
func (f *checkFlags) each(cmd *cobra.Command, args []string, command string,
	check func(session.Verifier, string, seal.ID, time.Time) (session.Verified, error), print printer) error {
	id, now, err := f.want()
	if err != nil {
		return err
	}
	v, done, err := f.verifier(cmd)
	if err != nil {
		return err
	}
	defer done()
	return eachEnvelope(cmd, args, func(line int, text string) error {
		verified, err := check(v, text, id, now)
		if err != nil {
			return f.refused(cmd, command, line, err)
		}
		return print(cmd, command, line, verified, f.json)
	})
}

// refused is err, which is told in JSON as well if that is wanted.
func (f *checkFlags) refused(cmd *cobra.Command, command string, line int, err error) error {
	if !f.json {
		return err
	}
	failed := classify(err).(*failure)
	return firstError(printJSON(cmd, command, map[string]any{"line": line, "good": false, "exit": failed.code, "reason": printable(failed.Error())}), failed)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func printVerified(cmd *cobra.Command, command string, line int, v session.Verified, asJSON bool) error {
	c := v.Claims
	if asJSON {
		return printJSON(cmd, command, verifiedFields(line, v))
	}
	word := map[string]string{"verify": "good", "take": "taken"}[command]
	what := fmt.Sprintf("session %s, generation %d", c.Session, c.Gen)
	if v.Purpose == seal.ForGrant {
		what = "a grant"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s, ends %s, key %s%s%s\n",
		word, c.Name, what, stamp(v.Decision.Expires), v.Opened.KeyID, note(v.Opened.Stale, " (stale)"), onceNote(v))
	return nil
}

func note(on bool, text string) string {
	if on {
		return text
	}
	return ""
}

func onceNote(v session.Verified) string {
	return note(v.Claims.Once && !v.ReplayChecked, "; once-only, and no --replay store was asked whether it is spent")
}

func verifiedFields(line int, v session.Verified) map[string]any {
	c := v.Claims
	return map[string]any{
		"line": line, "good": true, "exit": exitGood, "name": c.Name, "session": c.Session.String(), "gen": c.Gen, "jti": c.JTI.String(),
		"once": c.Once, "issued": stamp(time.Unix(c.IssuedAt, 0)), "expires": stamp(v.Decision.Expires),
		"policy": c.Policy, "grant": v.Purpose == seal.ForGrant, "key": v.Opened.KeyID, "stale": v.Opened.Stale, "replay_checked": v.ReplayChecked,
	}
}

func printValue(cmd *cobra.Command, command string, line int, v session.Verified, asJSON bool) error {
	switch {
	case asJSON:
		fields := verifiedFields(line, v)
		if v.Claims.Binary {
			fields["bytes"] = base64.RawURLEncoding.EncodeToString(v.Claims.Value)
		} else {
			fields["value"] = json.RawMessage(v.Claims.Value)
		}
		return printJSON(cmd, command, fields)
	case v.Claims.Binary:
		_, _ = cmd.OutOrStdout().Write(v.Claims.Value)
	default:
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n", escapeJSON(v.Claims.Value))
	}
	return nil
}

// escapeJSON writes what a terminal may act on (controls, marks of direction,
// anything that does not print) as escapes; the JSON stays the same value.
func escapeJSON(value []byte) []byte {
	out := make([]byte, 0, len(value))
	for _, r := range string(value) {
		switch {
		case unicode.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
