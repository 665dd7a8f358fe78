package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/sealedblob/sealedblob/seal"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// openingFlags say what opens a keyring.
type openingFlags struct {
	identities     []string
	passphraseFile string
	ask, samples   bool
}

func (f *openingFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.identities, "identity", nil, "identity `FILE` that opens the keyring: age or SSH private key; may be repeated (default: identity.txt in the keyring)")
	flags.StringVar(&f.passphraseFile, "passphrase-file", "", "`FILE` with the passphrase that opens the keyring")
	flags.BoolVar(&f.ask, "passphrase", false, "ask for the passphrase on the terminal")
}

// addSamples is for commands that read alone: nothing is sealed under a published
// key, nor is a session taken from one.
func (f *openingFlags) addSamples(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.samples, "insecure-sample-keys", false, "accept the published keys of the test vectors")
}

// options are for the library. A passphrase is asked for once, twice if it is new.
func (f *openingFlags) options(isNew bool) (options []seal.RingOption) {
	for _, path := range f.identities {
		options = append(options, seal.WithIdentityFile(path))
	}
	if f.passphraseFile != "" {
		options = append(options, seal.WithPassphraseFile(f.passphraseFile))
	}
	if f.ask {
		options = append(options, seal.WithPassphrase("the terminal", sync.OnceValues(func() ([]byte, error) { return askPassphrase(isNew) })))
	}
	if f.samples {
		options = append(options, seal.InsecureSampleKeys())
	}
	return options
}

// askPassphrase reads a line from the terminal without showing it.
func askPassphrase(twice bool) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("no terminal to ask for the passphrase: %w", err)
	}
	defer tty.Close()
	ask := func(prompt string) ([]byte, error) {
		fmt.Fprint(tty, prompt)
		defer fmt.Fprintln(tty)
		return term.ReadPassword(int(tty.Fd()))
	}
	first, err := ask("Passphrase of the keyring: ")
	if err != nil || !twice {
		return first, err
	}
	second, err := ask("Once more: ")
	if err == nil && !bytes.Equal(first, second) {
		err = errors.New("the two passphrases differ")
	}
	return first, err
}
