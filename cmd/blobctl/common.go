package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
	"github.com/spf13/cobra"
)

// checkFlags are the flags of the commands that open envelopes.
type checkFlags struct {
	keyring, policy, app, tenant string
	session, at, replay          string
	json, grant                  bool
	may                          access
	opening                      openingFlags
}

func (f *checkFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.keyring, "keyring", "", "the keyring's folder `DIR` (required)")
	flags.StringVar(&f.policy, "policy", "", "policy `FILE` (required)")
	flags.StringVar(&f.app, "app", "", "application the envelope is bound to (required)")
	flags.StringVar(&f.tenant, "tenant", "", "tenant the envelope is bound to")
	flags.StringVar(&f.session, "session", "", "require this session `ID`")
	if f.may == readOnly { // what is spent is spent now
		f.opening.addSamples(cmd)
		flags.StringVar(&f.at, "at", "", "judge at this `TIME` (RFC 3339 or Unix seconds) instead of now")
	}
	flags.BoolVar(&f.json, "json", false, "print JSON, version 1")
	flags.BoolVar(&f.grant, "grant", false, "the envelopes are grants, rights outside any session")
	cmd.MarkFlagsMutuallyExclusive("grant", "session")
	f.opening.add(cmd)
	for _, name := range []string{"keyring", "policy", "app"} {
		_ = cmd.MarkFlagRequired(name)
	}
}

func (f *checkFlags) addReplay(cmd *cobra.Command, help string) {
	cmd.Flags().StringVar(&f.replay, "replay", "", help)
}

// verifier loads what the flags name. Close its store afterwards.
func (f *checkFlags) verifier(cmd *cobra.Command) (v session.Verifier, close func(), err error) {
	close = func() {}
	ring, err := seal.LoadRing(f.keyring, f.opening.options(false)...)
	if err != nil {
		return v, close, keyringError(err)
	}
	p, err := loadPolicy(f.policy)
	if err != nil {
		return v, close, err
	}
	v = session.Verifier{Keys: ring, Policy: p, Scope: seal.Scope{App: f.app, Tenant: f.tenant}}
	if f.grant {
		v.Purpose = seal.ForGrant
	}
	if f.replay != "" {
		store, err := openStore(cmd.Context(), f.replay, f.may)
		if err != nil {
			return v, close, err
		}
		v.Store, close = store, func() { store.Close() }
	}
	return v, close, nil
}

func (f *checkFlags) want() (id seal.ID, now time.Time, err error) {
	if f.session != "" {
		if id, err = parseSession(f.session); err != nil {
			return id, now, err
		}
	}
	now, err = parseTime(f.at)
	return id, now, err
}

func parseSession(text string) (seal.ID, error) {
	id, err := seal.ParseID(text)
	if err != nil {
		return id, usage("--session wants the 22 characters of a session's base64url ID")
	}
	return id, nil
}

func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Now(), nil
	}
	if s, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(s, 0), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usage("--at wants RFC 3339 (2026-01-31T12:00:00Z) or Unix seconds")
	}
	return t, nil
}

func loadPolicy(path string) (*policy.Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(exitUsage, err)
	}
	defer f.Close()
	text, err := readAtMost(f, policy.MaxFile)
	if err != nil {
		return nil, fail(exitUsage, fmt.Errorf("%s: %w", path, err))
	}
	p, err := policy.Parse(text)
	if err != nil {
		return nil, fail(exitUsage, fmt.Errorf("%s: %w", path, err))
	}
	return p, nil
}

// keyringError is for a keyring that can't be loaded.
func keyringError(err error) error { return &failure{exitUsage, err, keyringHint(err)} }

// keyringHint says what to do about a file that is not there.
func keyringHint(err error) string {
	var missing *fs.PathError
	if !errors.Is(err, seal.ErrRing) || !errors.As(err, &missing) || !errors.Is(missing, fs.ErrNotExist) {
		return ""
	}
	switch filepath.Base(missing.Path) {
	case seal.IdentityFile:
		return "say what opens the keyring: --identity FILE, --passphrase-file FILE or --passphrase"
	case seal.SignerFile, seal.VerifierFile:
		return "bring it from where the keyring was made, or make one with: blobctl keyring init --dir DIR"
	case seal.RingFile:
		return "make one with: blobctl keyring init --dir DIR"
	}
	if missing.Op == "lstat" { // the folder; other files are opened
		return "make one with: blobctl keyring init --dir DIR"
	}
	return ""
}

// printJSON writes one line of the versioned machine output.
func printJSON(cmd *cobra.Command, command string, fields map[string]any) error {
	out := map[string]any{"version": 1, "command": command}
	for k, v := range fields {
		out[k] = v
	}
	line, err := json.Marshal(out)
	if err != nil {
		return fail(exitFailure, err)
	}
	fmt.Fprintln(cmd.OutOrStdout(), string(line))
	return nil
}
