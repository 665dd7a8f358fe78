package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// untilSignal ends with SIGINT or SIGTERM: for commands that serve. All others
// keep the signals' default action, which ends them at once.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// execute runs one command line and returns its exit code. Results go to out,
// everything else to errOut.
func execute(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	checked := &checkedWriter{w: out}
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(checked)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if checked.err != nil {
		err = &failure{exitFailure, fmt.Errorf("writing the result: %w", checked.err), "what the command was to change it may have changed"}
	}
	if err == nil {
		return exitGood
	}
	return report(errOut, err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "blobctl",
		Short: "Seal, inspect, verify and serve client-side session replicas",
		Long: `blobctl works with sealed blobs: session attributes that a client keeps for the
server and can neither read nor change.

Exit codes: 0 everything was checked, good and written; 1 could not tell (I/O,
replay store); 2 usage or configuration; 3 refused; 4 already spent.`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newKeyring(), newSeal(), newVerify(), newOpen(), newTake(), newInspect(), newPolicy(), newReplay(), newServe(), newDemo())
	return root
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// checkedWriter remembers the first failed write: an unwritten result must
// never end in exit code 0.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}
