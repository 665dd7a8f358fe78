// Command peers lets published Bayeux clients loose on this module's server, and
// this module's client on published servers: real programs, each over each
// transport it has. README.md says what each must show.
//
//	peers run [-only REGEXP] [-at-once N] JAVA    all of them; JAVA holds the jars and classes
//	peers server [park] PORT ORIGIN               our server
//	peers client [STEP]... CONTROL URL TRANSPORT  our client, with these steps besides
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: peers run [-only REGEXP] [-at-once N] JAVA | server [park] PORT ORIGIN | client [STEP]... CONTROL URL TRANSPORT")

func command(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "server":
		return serve(args[1], args[2], false)
	case len(args) == 4 && args[0] == "server" && args[1] == "park":
		return serve(args[2], args[3], true)
	case len(args) >= 4 && args[0] == "client":
		n := len(args)
		return ourClient(ctx, args[n-3], args[n-2], args[n-1], args[1:n-3])
	case len(args) > 1 && args[0] == "run":
		return runCommand(ctx, args[1:])
	}
	return errUsage
}

func runCommand(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	only := flags.String("only", "", "run those whose name matches")
	atOnce := flags.Int("at-once", 4, "how many run at the same time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*only)
	if err != nil || flags.NArg() != 1 || *atOnce < 1 {
		return errUsage
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return runAll(ctx, meetings(self, flags.Arg(0)), pattern, *atOnce)
}
