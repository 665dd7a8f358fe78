package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sealedblob/sealedblob/seal"
	"github.com/spf13/cobra"
)

const (
	maxInspect = 64 << 20 // a HAR file of a long session
	maxNesting = 3        // JSON in a string in JSON in a string …
	maxPath    = 1000     // levels of one JSON text
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
	count := 0
	err = scan(text, func(e found) error {
		count++
		return printFound(cmd, e, asJSON)
	})
	if err == nil && count == 0 {
		err = fail(exitRefused, fmt.Errorf("%w: no envelope in the input", seal.ErrMalformed))
	}
	return err
}

// scan finds envelopes in JSON, or takes each line for one.
func scan(text []byte, f func(found) error) error {
	if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') {
		if err := walk("", trimmed, 0, f); errors.Is(err, errNotJSON) {
			return fail(exitRefused, fmt.Errorf("%w: the JSON can't be read", seal.ErrMalformed))
		} else if err != nil {
			return err
		}
		return nil
	}
	return scanLines(text, f)
}

// scanLines takes each line for an envelope; the first few that are none are named.
func scanLines(text []byte, f func(found) error) error {
	var bad []string
	for n, rest := 1, text; len(rest) > 0; n++ {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if len(line) == 0 || len(bad) == 3 && len(line) > seal.MaxMaxEnvelope {
			continue
		}
		seen, err := seal.InspectUnverified(string(line[:min(len(line), seal.MaxMaxEnvelope+1)]))
		if err == nil {
			if err := f(found{fmt.Sprintf("line %d", n), seen}); err != nil {
				return err
			}
		} else if len(bad) < 3 {
			bad = append(bad, fmt.Sprintf("line %d", n))
		}
	}
	if len(bad) > 0 {
		return fail(exitRefused, fmt.Errorf("%w: no envelope at %s", seal.ErrMalformed, strings.Join(bad, ", ")))
	}
	return nil
}

var errNotJSON = errors.New("not JSON")

// place is one level of a JSON text on the way to a string.
type place struct {
	object, name bool // in an object; the next token is a member's name
	key          string
	index        int
}

// walk calls f for each envelope among the strings of a JSON text, without
// building it, and looks into strings that hold JSON themselves.
func walk(at string, text []byte, nesting int, f func(found) error) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	var path []place
	for {
		token, err := dec.Token()
		if err == io.EOF && len(path) == 0 {
			return nil
		}
		if err != nil || len(path) > maxPath {
			return errNotJSON
		}
		top := &place{}
		if len(path) > 0 {
			top = &path[len(path)-1]
		}
		if end := token == json.Delim('}') || token == json.Delim(']'); !end && !top.object {
			top.index++
		}
		switch v := token.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				path = append(path, place{object: v == '{', name: v == '{', index: -1})
				continue
			}
			path = path[:len(path)-1]
			if len(path) > 0 {
				path[len(path)-1].name = path[len(path)-1].object
			}
		case string:
			if top.name {
				top.key, top.name = v, false
				continue
			}
			top.name = top.object
			if err := look(at, path, v, nesting, f); err != nil {
				return err
			}
		default:
			top.name = top.object
		}
	}
}

// look takes a string for an envelope, or for JSON.
func look(at string, path []place, v string, nesting int, f func(found) error) error {
	if seen, err := seal.InspectUnverified(v); err == nil {
		return f(found{at + pointer(path), seen})
	}
	if nesting == maxNesting || len(v) < 2 || v[0] != '{' && v[0] != '[' {
		return nil
	}
	if err := walk(at+pointer(path), []byte(v), nesting+1, f); !errors.Is(err, errNotJSON) {
		return err
	}
	return nil // a text that only begins like JSON
}

// pointer names the place as in RFC 6901.
func pointer(path []place) string {
	var b strings.Builder
	for _, p := range path {
		if p.object {
			fmt.Fprintf(&b, "/%s", printable(strings.NewReplacer("~", "~0", "/", "~1").Replace(p.key)))
		} else {
			fmt.Fprintf(&b, "/%d", p.index)
		}
	}
	return b.String()
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
