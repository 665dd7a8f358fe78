package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealedblob/sealedblob/seal"
	"github.com/spf13/cobra"
)

const (
	maxInspect = 64 << 20 // a HAR file of a long session
	maxNesting = 3        // JSON in a string in JSON in a string …
)

func newInspect() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "inspect [FILE|-]", Args: cobra.MaximumNArgs(1),
		Short: "Show what anybody can see of blobs, without a key",
		Long: `Show the form of each envelope found in the input: blobs, one a line, or any JSON,
such as a captured handshake or a HAR file. No key is used; everything shown is
unverified.`,
		RunE: func(cmd *cobra.Command, args []string) error { return runInspect(cmd, args, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, version 1")
	return cmd
}

// found is an envelope and where it was.
type found struct {
	at   string
	seen seal.UnverifiedEnvelope
}

func runInspect(cmd *cobra.Command, args []string, asJSON bool) error {
	in, err := openInput(cmd, args)
	if err != nil {
		return err
	}
	defer in.Close()
	text, err := readAtMost(in, maxInspect)
	if err != nil {
		return fail(exitRefused, fmt.Errorf("%w: reading the input: %w", seal.ErrMalformed, err))
	}
	envelopes, bad := scan(text)
	for _, e := range envelopes {
		if err := printFound(cmd, e, asJSON); err != nil {
			return err
		}
	}
	if len(envelopes) == 0 && len(bad) == 0 {
		return fail(exitRefused, fmt.Errorf("%w: no envelope in the input", seal.ErrMalformed))
	}
	if len(bad) > 0 {
		return fail(exitRefused, fmt.Errorf("%w: no envelope at %s", seal.ErrMalformed, strings.Join(bad[:min(3, len(bad))], ", ")))
	}
	return nil
}

// scan finds envelopes in JSON, or takes each line for one; bad names the
// lines that are none.
func scan(text []byte) (envelopes []found, bad []string) {
	if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') {
		var any any
		if json.Unmarshal(trimmed, &any) != nil {
			return nil, []string{"JSON that can't be read"}
		}
		walk("", any, 0, &envelopes)
		return envelopes, nil
	}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" {
			continue
		}
		at := fmt.Sprintf("line %d", i+1)
		if seen, err := seal.InspectUnverified(line); err != nil {
			bad = append(bad, at)
		} else {
			envelopes = append(envelopes, found{at, seen})
		}
	}
	return envelopes, bad
}

func walk(at string, v any, nesting int, out *[]found) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			walk(at+"/"+printable(k), v[k], nesting, out)
		}
	case []any:
		for i, e := range v {
			walk(fmt.Sprintf("%s/%d", at, i), e, nesting, out)
		}
	case string:
		if seen, err := seal.InspectUnverified(v); err == nil {
			*out = append(*out, found{at, seen})
			return
		}
		var inner any
		if nesting < maxNesting && len(v) > 1 && (v[0] == '{' || v[0] == '[') && json.Unmarshal([]byte(v), &inner) == nil {
			walk(at, inner, nesting+1, out)
		}
	}
}

func printFound(cmd *cobra.Command, e found, asJSON bool) error {
	if asJSON {
		return printJSON(cmd, "inspect", map[string]any{"at": e.at, "unverified": map[string]any{
			"enc": e.seen.Enc, "key": e.seen.KeyID, "salt": e.seen.Salt, "length": e.seen.Length, "ciphertext": e.seen.Ciphertext,
		}})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "unverified: %s: key %s, %s, %d characters, %d bytes of ciphertext, salt %s\n",
		e.at, e.seen.KeyID, e.seen.Enc, e.seen.Length, e.seen.Ciphertext, e.seen.Salt)
	return nil
}
