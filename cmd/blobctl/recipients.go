package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/sealedblob/sealedblob/seal"
	"github.com/spf13/cobra"
)

// recipientFlags name whom a ring is encrypted to. All of it is public.
type recipientFlags struct {
	recipients []string
	file       string
}

func (f *recipientFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.recipients, "recipient", nil, "age recipient or SSH public key `R`, or passphrase; may be repeated")
	cmd.Flags().StringVar(&f.file, "recipients-file", "", "`FILE` with a recipient a line; # begins a comment")
}

func (f *recipientFlags) read() ([]string, error) {
	if f.file == "" {
		return f.recipients, nil
	}
	in, err := os.Open(f.file)
	if err != nil {
		return nil, fail(exitUsage, err)
	}
	defer in.Close()
	text, err := readAtMost(in, seal.MaxRing)
	if err != nil {
		return nil, fail(exitUsage, fmt.Errorf("%s: %w", f.file, err))
	}
	out := f.recipients
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out, nil
}

func newKeyringRecipients() *cobra.Command {
	var f ringFlags
	var to recipientFlags
	cmd := &cobra.Command{
		Use: "recipients --dir DIR [--recipient R]...", Args: cobra.NoArgs,
		Short: "List or replace those who can open the keyring",
		Long: `List whom the ring is encrypted to. With --recipient or --recipients-file encrypt it
to these instead: name everybody who is to stay. A list with which the identity at
hand could not open the ring is refused. Who is removed keeps the keys that he has
read: rotate then, and revoke the older keys.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			recipients, err := to.read()
			if err != nil {
				return err
			}
			if len(recipients) == 0 && to.file != "" {
				return usage("%s: names nobody", to.file)
			}
			if len(recipients) > 0 {
				if _, err := seal.SetRecipients(cmd.Context(), f.dir, recipients, f.opening.options(false)...); err != nil {
					return classify(err)
				}
			}
			return f.printRecipients(cmd)
		},
	}
	f.add(cmd, false)
	to.add(cmd)
	return cmd
}

func (f *ringFlags) printRecipients(cmd *cobra.Command) error {
	recipients, err := seal.RingRecipients(f.dir, f.opening.options(false)...)
	if err != nil {
		return keyringError(err)
	}
	if f.json {
		return printJSON(cmd, "keyring recipients", map[string]any{"recipients": recipients})
	}
	for _, r := range recipients {
		fmt.Fprintln(cmd.OutOrStdout(), r)
	}
	return nil
}
