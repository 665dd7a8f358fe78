package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
	"github.com/spf13/cobra"
)

// verifiedManifest is a manifest that passed every check that it can be put to by
// itself.
type verifiedManifest struct {
	*seal.Manifest
	opened   seal.Opened
	decision policy.Decision
}

// manifests checks every line of the input as a manifest.
func (f *checkFlags) manifests(cmd *cobra.Command, args []string) error {
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
		m, err := verifyManifest(cmd.Context(), v, text, id, now)
		if err != nil {
			return f.refused(cmd, "verify", line, err)
		}
		if f.json {
			return printJSON(cmd, "verify", manifestFields(line, m))
		}
		fmt.Fprintf(cmd.OutOrStdout(), "good: the manifest of session %s, fence %d, generation %d, %d envelopes, ends %s, key %s%s\n",
			m.Session, m.Fence, m.Gen, len(m.Entries), stamp(m.decision.Expires), m.opened.KeyID, note(m.opened.Stale, " (stale)"))
		return nil
	})
}

// verifyManifest judges what a manifest says by itself: its session and times. Its
// holder, and what only the set's attributes can tell, it takes for granted.
func verifyManifest(ctx context.Context, v session.Verifier, text string, id seal.ID, now time.Time) (verifiedManifest, error) {
	ring, err := v.Keys.Ring(ctx)
	if err != nil {
		return verifiedManifest{}, err
	}
	opener := ring.NewOpener(v.Scope, now)
	defer opener.Wipe()
	m, opened, err := opener.Manifest(text)
	if err != nil {
		return verifiedManifest{}, err
	}
	if id != (seal.ID{}) && m.Session != id {
		return verifiedManifest{}, fmt.Errorf("%w: sealed for another session", policy.ErrBinding)
	}
	facts := policy.SessionFacts{
		Now: now, IssuedAt: time.Unix(m.IssuedAt, 0), Expires: time.Unix(m.Expires, 0), AbsoluteExpires: time.Unix(m.AbsoluteExpires, 0),
		Attributes: len(m.Entries), Bound: true, KeyProved: true,
	}
	for _, rule := range v.Policy.Rules() {
		facts.Names = append(facts.Names, rule.Name)
	}
	d := v.Policy.JudgeSession(facts)
	return verifiedManifest{m, opened, d}, d.Err()
}

func manifestFields(line int, m verifiedManifest) map[string]any {
	return map[string]any{
		"line": line, "good": true, "exit": exitGood, "manifest": true, "session": m.Session.String(), "fence": m.Fence, "gen": m.Gen,
		"issued": stamp(time.Unix(m.IssuedAt, 0)), "expires": stamp(m.decision.Expires), "absolute": stamp(m.decision.AbsoluteExpires),
		"envelopes": len(m.Entries), "policy": m.Policy, "key": m.opened.KeyID, "stale": m.opened.Stale,
	}
}
