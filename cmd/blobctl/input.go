package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sealedblob/sealedblob/seal"
	"github.com/spf13/cobra"
)

// openInput opens the file argument; none or "-" is standard input.
func openInput(cmd *cobra.Command, args []string) (io.ReadCloser, error) {
	if len(args) == 0 || args[0] == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, fail(exitUsage, err)
	}
	return f, nil
}

// eachEnvelope calls f with each line of the input. The worst result decides;
// errors other than the returned one are printed as they come. A line longer
// than any envelope is cut, not kept, so that it is refused for its size.
func eachEnvelope(cmd *cobra.Command, args []string, f func(line int, text string) error) error {
	in, err := openInput(cmd, args)
	if err != nil {
		return err
	}
	defer in.Close()
	var result error
	r := bufio.NewReaderSize(in, seal.MaxEnvelope+2)
	lines := 0
	for line := 1; ; line++ {
		text, err := readLine(r)
		if err == io.EOF {
			break
		}
		if err != nil {
			return worst(result, fail(exitFailure, fmt.Errorf("reading the input: %w", err)))
		}
		if text == "" {
			continue
		}
		lines++
		if err := classify(f(line, text)); err != nil {
			err = atLine(line, err)
			if result != nil {
				report(cmd.ErrOrStderr(), other(result, err))
			}
			result = worst(result, err)
		}
	}
	if lines == 0 {
		return fail(exitRefused, fmt.Errorf("%w: no envelope in the input", seal.ErrMalformed))
	}
	return result
}

// other is the one of two results that worst does not keep.
func other(a, b error) error {
	if worst(a, b) == a {
		return b
	}
	return a
}

func atLine(line int, err error) error {
	var f *failure
	errors.As(err, &f)
	return &failure{f.code, fmt.Errorf("line %d: %w", line, f.err), f.hint}
}

// readLine returns one line without its end, cut just over the size limit.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	text := string(line)
	for read := len(line); errors.Is(err, bufio.ErrBufferFull); read += len(line) {
		if read > maxInspect {
			return "", fmt.Errorf("a line of over %d bytes", maxInspect)
		}
		line, err = r.ReadSlice('\n')
	}
	if err == io.EOF && text != "" {
		err = nil
	}
	if n := len(text); n > 0 && text[n-1] == '\n' {
		text = text[:n-1]
	}
	return text, err
}
