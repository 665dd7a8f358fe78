package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
	"github.com/spf13/cobra"
)

type sealFlags struct {
	keyring, policy, app, tenant string
	session, name, replay        string
	ttl                          time.Duration
	binary, json, grant          bool
	opening                      openingFlags
}

func newSeal() *cobra.Command {
	var f sealFlags
	cmd := &cobra.Command{
		Use: "seal --keyring DIR --policy FILE --app APP {--session SID|--grant} --name ATTR < value > envelope", Args: cobra.NoArgs,
		Short: "Seal one value as an attribute, or as a grant",
		Long: `Read a JSON value (or, with --binary, bytes) from standard input and print its
envelope. The policy must declare the attribute. --session new draws a session ID
and prints it on standard error. --grant seals a once-only attribute as a right
outside any session. Name the replay store that will spend a once-only
attribute: it must not be younger than the envelope, so it is made if need be.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return runSeal(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.keyring, "keyring", "", "the keyring's folder `DIR` (required)")
	flags.StringVar(&f.policy, "policy", "", "policy `FILE` (required)")
	flags.StringVar(&f.app, "app", "", "application to bind to (required)")
	flags.StringVar(&f.tenant, "tenant", "", "tenant to bind to")
	flags.StringVar(&f.session, "session", "", "session `ID`, or new")
	flags.BoolVar(&f.grant, "grant", false, "seal a right outside any session")
	flags.StringVar(&f.name, "name", "", "attribute's name (required)")
	flags.StringVar(&f.replay, "replay", "", "the store that will spend it: a `URL`, see blobctl replay --help")
	flags.DurationVar(&f.ttl, "ttl", 0, "a shorter life than the policy's")
	flags.BoolVar(&f.binary, "binary", false, "the value is bytes, not JSON")
	flags.BoolVar(&f.json, "json", false, "print JSON, version 1")
	f.opening.add(cmd)
	for _, name := range []string{"keyring", "policy", "app", "name"} {
		_ = cmd.MarkFlagRequired(name)
	}
	cmd.MarkFlagsOneRequired("session", "grant")
	cmd.MarkFlagsMutuallyExclusive("session", "grant")
	return cmd
}

func runSeal(cmd *cobra.Command, f sealFlags) error {
	p, err := loadPolicy(f.policy)
	if err != nil {
		return err
	}
	rule, ok := p.Rule(f.name)
	if !ok {
		return usage("the policy declares no attribute %q", f.name)
	}
	if rule.Authority == policy.AuthorityServer {
		return usage("%s is kept on the server (authority) and never sealed", f.name)
	}
	ring, err := seal.LoadRing(f.keyring, f.opening.options(false)...)
	if err != nil {
		return keyringError(err)
	}
	value, err := readValue(cmd.InOrStdin(), rule, f.binary)
	if err != nil {
		return err
	}
	id := seal.NewID() // of a grant: of no session
	if !f.grant {
		if id, err = sessionID(cmd, f.session); err != nil {
			return err
		}
	}
	now, err := f.issued(cmd)
	if err != nil {
		return err
	}
	claims, err := f.claims(p, rule, id, value, now)
	if err != nil {
		return err
	}
	sealer, err := ring.NewSealer(seal.Scope{App: f.app, Tenant: f.tenant}, time.Now())
	if err != nil {
		return classify(err)
	}
	envelope, err := f.seal(cmd.Context(), sealer, claims, ring, p)
	if err != nil {
		return fail(exitUsage, err)
	}
	if f.json {
		return printJSON(cmd, "seal", map[string]any{"envelope": envelope, "session": id.String(), "name": f.name, "expires": stamp(time.Unix(claims.Expires, 0))})
	}
	fmt.Fprintln(cmd.OutOrStdout(), envelope)
	return nil
}

// seal also asks whether the grant will be honoured: not every right can be one.
func (f sealFlags) seal(ctx context.Context, sealer *seal.Sealer, c *seal.Claims, ring *seal.Ring, p *policy.Policy) (string, error) {
	if !f.grant {
		return sealer.Attribute(c)
	}
	c.Gen = 0
	envelope, err := sealer.Grant(c)
	if err != nil {
		return "", err
	}
	v := session.Verifier{Keys: ring, Policy: p, Scope: seal.Scope{App: f.app, Tenant: f.tenant}, Purpose: seal.ForGrant}
	if _, err := v.Verify(ctx, envelope, seal.ID{}, time.Unix(c.IssuedAt, 0)); err != nil {
		return "", err
	}
	return envelope, nil
}

func sessionID(cmd *cobra.Command, text string) (seal.ID, error) {
	if text != "new" {
		return parseSession(text)
	}
	id := seal.NewID()
	fmt.Fprintf(cmd.ErrOrStderr(), "blobctl: session %s\n", id)
	return id, nil
}

func readValue(in io.Reader, rule policy.Rule, binary bool) ([]byte, error) {
	value, err := readAtMost(in, rule.MaxBytes+4096) // room for white space that compacting removes
	if err != nil {
		return nil, usage("the value is over the policy's %d bytes", rule.MaxBytes)
	}
	if !binary {
		var compact bytes.Buffer
		if len(bytes.TrimSpace(value)) == 0 || json.Compact(&compact, value) != nil || !seal.ValidValue(compact.Bytes()) {
			return nil, &failure{exitUsage, fmt.Errorf("the value is not one JSON value"), `quote a string: echo '"text"'; or use --binary for bytes`}
		}
		value = compact.Bytes()
	}
	if len(value) > rule.MaxBytes {
		return nil, usage("the value has %d bytes, the policy allows %d", len(value), rule.MaxBytes)
	}
	return value, nil
}

func readAtMost(in io.Reader, limit int) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(in, int64(limit)+1))
	if err == nil && len(out) > limit {
		err = fmt.Errorf("over %d bytes", limit)
	}
	return out, err
}

// issued is now, or the epoch of a store that has only just begun.
func (f sealFlags) issued(cmd *cobra.Command) (int64, error) {
	now := time.Now().Unix()
	if f.replay == "" || f.replay == "none:" || f.replay == "mem:" {
		return now, nil
	}
	store, err := openStore(cmd.Context(), f.replay, mayMake)
	if err != nil {
		return 0, err
	}
	defer store.Close()
	epoch, err := store.Epoch(cmd.Context())
	if err != nil {
		return 0, fail(exitFailure, err)
	}
	return max(now, epoch.Unix()), nil
}

func (f sealFlags) claims(p *policy.Policy, rule policy.Rule, id seal.ID, value []byte, now int64) (*seal.Claims, error) {
	life := p.Session().Absolute
	for _, limit := range []time.Duration{rule.TTL, rule.Absolute, rule.Idle} {
		if limit > 0 {
			life = min(life, limit)
		}
	}
	if f.ttl != 0 {
		if f.ttl < time.Second || f.ttl > life {
			return nil, usage("--ttl wants 1s to the policy's %v", life)
		}
		life = f.ttl.Truncate(time.Second)
	}
	c := &seal.Claims{
		JTI: seal.NewID(), IssuedAt: now, Expires: now + int64(life/time.Second), Session: id,
		Gen: 1, Name: rule.Name, Policy: p.Version(), Value: value, Binary: f.binary,
	}
	if rule.Pad == policy.PadMax {
		longest := rule.MaxBytes
		if f.binary {
			longest = min(base64.RawURLEncoding.EncodedLen(longest), policy.MaxValueBytes)
		}
		c.Pad = seal.PadFor(longest)
	}
	if rule.Absolute > 0 {
		c.AbsoluteExpires = now + int64(rule.Absolute/time.Second)
	}
	if rule.Once {
		c.Once, c.UID, c.AbsoluteExpires = true, seal.NewID(), c.Expires
	}
	return c, nil
}
