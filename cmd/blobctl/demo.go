package main

import (
	"errors"
	"net"
	"os"

	"github.com/sealedblob/sealedblob/internal/demo"
	"github.com/spf13/cobra"
)

func newDemo() *cobra.Command {
	var headless bool
	var listen, replay string
	cmd := &cobra.Command{
		Use: "demo [--headless]", Args: cobra.NoArgs,
		Short: "Run three nodes and a front; see a session outlive its server",
		Long: `Run three nodes and a front on loopback, in a temporary folder, and print the URL
of the shop. With --headless a program plays the visitors, honest and hostile, and
prints one PASS line for each promise.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			var flags []string // of the nodes
			if replay == "mem:" || replay == "none:" {
				return usage("--replay wants a store that several processes share")
			}
			if replay != "" {
				flags = []string{"--replay", replay}
			}
			program, err := os.Executable()
			if err != nil {
				return fail(exitFailure, err)
			}
			if headless {
				if err := demo.Headless(ctx, program, cmd.OutOrStdout(), flags...); err != nil {
					return fail(exitFailure, err)
				}
				return nil
			}
			host, _, err := net.SplitHostPort(listen)
			if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
				return fail(exitUsage, errors.New("--listen wants a loopback address such as 127.0.0.1:0: the demonstration kills nodes for anybody who asks"))
			}
			if err := demo.Interactive(ctx, program, listen, cmd.OutOrStdout(), flags...); err != nil {
				return fail(exitFailure, err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&headless, "headless", false, "play the whole story without a browser")
	cmd.Flags().StringVar(&replay, "replay", "", "replay store `URL` that the nodes share (default: in the temporary folder)")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "loopback address `ADDR` of the front")
	return cmd
}
