package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"
	"time"

	"github.com/sealedblob/sealedblob/seal"
	"github.com/spf13/cobra"
)

func newKeyring() *cobra.Command {
	cmd := &cobra.Command{Use: "keyring", Short: "Make, rotate and list the keys that seal", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage("keyring wants init, rotate, list, recipients, retire, revoke or export")
		}}
	cmd.AddCommand(newKeyringInit(), newKeyringRotate(), newKeyringList(), newKeyringRecipients(), newKeyringEnd("retire", seal.RetireKey), newKeyringEnd("revoke", seal.RevokeKey), newKeyringExport())
	return cmd
}

// ringFlags are common to the keyring commands.
type ringFlags struct {
	dir, enc string
	json     bool
	opening  openingFlags
}

func (f *ringFlags) add(cmd *cobra.Command, enc bool) {
	cmd.Flags().StringVar(&f.dir, "dir", "", "the keyring's folder `DIR` (required)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON, version 1")
	f.opening.add(cmd)
	_ = cmd.MarkFlagRequired("dir")
	if enc {
		cmd.Flags().StringVar(&f.enc, "enc", string(seal.A256GCM), "content encryption of the new key: A256GCM or A256CBC-HS512")
	}
}

func (f *ringFlags) profile() (seal.Enc, error) {
	switch enc := seal.Enc(f.enc); enc {
	case seal.A256GCM, seal.A256CBCHS512:
		return enc, nil
	}
	return "", usage("--enc wants A256GCM or A256CBC-HS512")
}

func newKeyringInit() *cobra.Command {
	var f ringFlags
	var to recipientFlags
	var postQuantum bool
	cmd := &cobra.Command{
		Use: "init --dir DIR", Args: cobra.NoArgs,
		Short: "Make a keyring with one primary key",
		Long: `Make a keyring's folder: ring.age (the keys, encrypted and signed), identity.txt
(opens it; nodes need it), signer.key (changes it; keep it off the nodes) and
signer.pub (checks it). With --identity, --passphrase-file or --passphrase the ring is
encrypted to that, and there is no identity.txt; with --recipient to these as well.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			enc, err := f.profile()
			if err != nil {
				return err
			}
			recipients, err := to.read()
			if err != nil {
				return err
			}
			options := append(f.opening.options(true), seal.WithRecipients(recipients...))
			if postQuantum {
				options = append(options, seal.WithPostQuantum())
			}
			ring, err := seal.InitRing(f.dir, enc, time.Now(), options...)
			if errors.Is(err, fs.ErrExist) {
				return &failure{exitUsage, err, "a keyring is never overwritten; add a key with: blobctl keyring rotate --dir DIR; if there is no ring.age, an earlier init was cut short: remove what it left"}
			}
			if err != nil {
				return classify(err)
			}
			return printRing(cmd, "keyring init", ring, f.json)
		},
	}
	f.add(cmd, true)
	to.add(cmd)
	cmd.Flags().BoolVar(&postQuantum, "post-quantum", false, "make a post-quantum identity")
	return cmd
}

func newKeyringRotate() *cobra.Command {
	var f ringFlags
	var in time.Duration
	var force bool
	cmd := &cobra.Command{
		Use: "rotate --dir DIR", Args: cobra.NoArgs,
		Short: "Add a key that becomes primary",
		Long: `Add a key. Until its activation nodes know it as pending, so that all of them can
open what it seals before any of them seals with it. The present primary key
then only opens.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			enc, err := f.profile()
			if err != nil {
				return err
			}
			if least := 2 * seal.ReloadInterval; in < 0 || in < least && !force {
				return usage("--activate-in wants %v or more; less than that only with --force, for a ring that no node has read", least)
			}
			rotate := seal.RotateRing
			if force {
				rotate = seal.UnsafeRotateRing
			}
			now := time.Now()
			ring, err := rotate(cmd.Context(), f.dir, enc, now, now.Add(in), f.opening.options(false)...)
			if err != nil {
				return classify(err)
			}
			return printRing(cmd, "keyring rotate", ring, f.json)
		},
	}
	f.add(cmd, true)
	cmd.Flags().DurationVar(&in, "activate-in", 2*seal.ReloadInterval, "when the key becomes primary; less than the default only with --force")
	cmd.Flags().BoolVar(&force, "force", false, "let the key become primary before every node can have read it: for rings that no node has read")
	return cmd
}

func newKeyringList() *cobra.Command {
	var f ringFlags
	cmd := &cobra.Command{
		Use: "list --dir DIR", Args: cobra.NoArgs,
		Short: "List the keys and their states",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ring, err := seal.LoadRing(f.dir, f.opening.options(false)...)
			if err != nil {
				return keyringError(err)
			}
			return printRing(cmd, "keyring list", ring, f.json)
		},
	}
	f.add(cmd, false)
	f.opening.addSamples(cmd)
	return cmd
}

// newKeyringEnd is retire and revoke, which differ in what they ask of the key.
func newKeyringEnd(verb string, end func(context.Context, string, string, time.Time, ...seal.RingOption) (*seal.Ring, error)) *cobra.Command {
	var f ringFlags
	cmd := &cobra.Command{
		Use: verb + " --dir DIR KEY", Args: cobra.ExactArgs(1),
		Short: map[string]string{
			"retire": "End the life of an open-only key",
			"revoke": "End the life of a key that leaked, at once",
		}[verb],
		Long: map[string]string{
			"retire": `Retire an open-only key, and erase its secret: what it sealed opens no more. Do it when
everything that it sealed has expired, and not within seven minutes of the end of its
time as primary key.`,
			"revoke": `Revoke a key in whatever state it is, and erase its secret: what it sealed opens no
more. Every node that runs follows within two reload intervals. If it is the primary
key, or by a clock that is five minutes off may be, a new one takes its place at once;
sessions on running nodes are sealed anew.`,
		}[verb],
		RunE: func(cmd *cobra.Command, args []string) error {
			ring, err := end(cmd.Context(), f.dir, args[0], time.Now(), f.opening.options(false)...)
			if err != nil {
				return classify(err)
			}
			return printRing(cmd, "keyring "+verb, ring, f.json)
		},
	}
	f.add(cmd, false)
	return cmd
}

func newKeyringExport() *cobra.Command {
	var f ringFlags
	var app, tenant string
	var manifest, grant bool
	cmd := &cobra.Command{
		Use: "export --dir DIR --app APP [FILE|-]", Args: cobra.MaximumNArgs(1),
		Short: "Print the content key of one envelope as a JWK",
		Long: `Print the content key of one envelope as a JWK, so that any JOSE tool opens it
without being given the ring. The key opens and makes all envelopes of that session
and node: treat it as a secret.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ring, err := seal.LoadRing(f.dir, f.opening.options(false)...)
			if err != nil {
				return keyringError(err)
			}
			purpose := seal.ForAttribute
			switch {
			case manifest:
				purpose = seal.ForManifest
			case grant:
				purpose = seal.ForGrant
			}
			return eachEnvelope(cmd, args, func(_ int, text string) error {
				jwk, err := ring.ContentKeyJWK(seal.Scope{App: app, Tenant: tenant}, purpose, text)
				if err != nil {
					return err
				}
				if f.json {
					return printJSON(cmd, "keyring export", map[string]any{"jwk": json.RawMessage(jwk)})
				}
				fmt.Fprintln(cmd.OutOrStdout(), string(jwk))
				return nil
			})
		},
	}
	f.add(cmd, false)
	f.opening.addSamples(cmd)
	cmd.Flags().StringVar(&app, "app", "", "application the envelope is bound to (required)")
	cmd.Flags().StringVar(&tenant, "tenant", "", "tenant the envelope is bound to")
	cmd.Flags().BoolVar(&manifest, "manifest", false, "the envelope is a manifest")
	cmd.Flags().BoolVar(&grant, "grant", false, "the envelope is a grant")
	cmd.MarkFlagsMutuallyExclusive("manifest", "grant")
	_ = cmd.MarkFlagRequired("app")
	return cmd
}

func printRing(cmd *cobra.Command, command string, ring *seal.Ring, asJSON bool) error {
	now := time.Now()
	if asJSON {
		keys := []map[string]any{}
		for _, k := range ring.Keys() {
			keys = append(keys, map[string]any{"id": k.ID(), "enc": k.Enc(), "state": ring.State(k, now), "created": stamp(k.Created()), "activation": stamp(k.Activation())})
		}
		return printJSON(cmd, command, map[string]any{"ring": ring.Version(), "keys": keys})
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "KEY\tSTATE\tENC\tCREATED\tACTIVATION\n")
	for _, k := range ring.Keys() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.ID(), ring.State(k, now), k.Enc(), stamp(k.Created()), stamp(k.Activation()))
	}
	if err := w.Flush(); err != nil {
		return fail(exitFailure, fmt.Errorf("writing the result: %w", err))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
