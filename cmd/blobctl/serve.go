package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sealedblob/sealedblob/internal/shop"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/spf13/cobra"
)

type serveFlags struct {
	listen, name, keyring, seen, policy, app, tenant, replay string
	timeout, maxInterval, reload, maxStale, drain, spread    time.Duration
	maxSessions                                              int
	opening                                                  openingFlags
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use: "serve --listen ADDR --keyring DIR --policy FILE --replay URL", Args: cobra.NoArgs,
		Short: "Run a node: Bayeux at /bayeux, the demonstration shop at /",
		Long: `Run a node. Prints its URL on standard output when it accepts connections; logs
JSON lines on standard error. SIGHUP makes it look for a changed keyring.

SIGTERM and SIGINT drain it: GET /healthz turns from 200 to 503, so that a front sends
new visitors elsewhere; the newest set of each session goes to its clients, which are
then told to shake hands again, on another node; the exit code is 0. It takes a second
as a rule, and no longer than --drain. A second signal ends it at once.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return runServe(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8080", "address `ADDR` to listen on; port 0 takes a free one")
	flags.StringVar(&f.name, "name", "", "the node's name, for logs and visitors (default: its address)")
	flags.StringVar(&f.keyring, "keyring", "", "the keyring's folder `DIR` (required)")
	flags.StringVar(&f.seen, "keyring-seen", "", "`FILE` that notes the highest ring version seen (default: ring.seen in the keyring)")
	flags.DurationVar(&f.reload, "keyring-reload", seal.ReloadInterval, "how often to look for a changed keyring; SIGHUP asks at once")
	flags.DurationVar(&f.maxStale, "keyring-max-stale", 0, "end the use of a keyring that could not be read for so long: two reload intervals or more; 0: no end")
	flags.StringVar(&f.policy, "policy", "", "policy `FILE` that declares login, cart and ticket (required)")
	flags.StringVar(&f.replay, "replay", "", "replay store that the nodes share: a `URL`, see blobctl replay --help (required)")
	flags.StringVar(&f.app, "app", "shop", "application to bind to")
	flags.StringVar(&f.tenant, "tenant", "", "tenant to bind to")
	flags.IntVar(&f.maxSessions, "max-sessions", 0, "sessions kept in memory (default 100000)")
	flags.DurationVar(&f.timeout, "bayeux-timeout", 0, "how long a Bayeux connect is held (default 30s)")
	flags.DurationVar(&f.maxInterval, "bayeux-max-interval", 0, "how long a silent Bayeux client is remembered (default 10s)")
	flags.DurationVar(&f.drain, "drain", 20*time.Second, "how long clients have to acknowledge their newest set when the node stops; 0 does not wait")
	flags.DurationVar(&f.spread, "spread", 500*time.Millisecond, "over how long clients that must go to another node spread their handshakes")
	f.opening.add(cmd)
	for _, name := range []string{"keyring", "policy", "replay"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

func runServe(cmd *cobra.Command, f serveFlags) error {
	if f.maxStale < 0 || f.maxStale > 0 && f.maxStale < 2*f.reload {
		return usage("--keyring-max-stale wants 0, or twice --keyring-reload or more")
	}
	if f.timeout < 0 || f.maxInterval < 0 || f.maxSessions < 0 || f.drain < 0 || f.spread < 0 || f.reload <= 0 {
		return usage("--bayeux-timeout, --bayeux-max-interval, --drain, --spread and --max-sessions can't be negative, --keyring-reload must be above zero")
	}
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before anything that takes time: its default action is death
	p, err := loadPolicy(f.policy)
	if err != nil {
		return err
	}
	store, err := openStore(cmd.Context(), f.replay, mayMake)
	if err != nil {
		return err
	}
	defer store.Close()
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fail(exitFailure, err)
	}
	defer l.Close()
	if f.name == "" {
		f.name = l.Addr().String()
	}
	log := slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil)).With("node", f.name)
	keys, err := f.watch(ctx, log, hup)
	if err != nil {
		return keyringError(err)
	}
	node, err := shop.New(ctx, shop.Config{
		Name: f.name, Keys: keys, Policy: p, Store: store, App: f.app, Tenant: f.tenant,
		Timeout: f.timeout, MaxInterval: f.maxInterval, MaxSessions: f.maxSessions, Spread: f.spread, Logger: log,
	})
	if err != nil {
		return fail(exitUsage, err)
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "http://%s/\n", l.Addr()); err != nil {
		return fail(exitFailure, fmt.Errorf("writing the URL: %w", err))
	}
	return serve(ctx, stop, l, node, f.drain, log)
}

// watch follows the keyring, also when SIGHUP asks to look at once. A node without
// a primary key does not start: it could seal nothing.
func (f serveFlags) watch(ctx context.Context, log *slog.Logger, hup <-chan os.Signal) (*seal.Watched, error) {
	keys, err := seal.WatchRing(f.keyring, seal.WatchConfig{Interval: f.reload, Seen: f.seen, MaxStale: f.maxStale, Options: f.opening.options(false), Reloaded: func(r *seal.Ring, err error) {
		if err != nil {
			log.Error("looking for a changed keyring", "ring_in_use", r.Version(), "error", err)
			return
		}
		log.Info("keyring reloaded", "ring", r.Version())
	}})
	if err != nil {
		return nil, err
	}
	ring, err := keys.Ring(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := ring.Primary(time.Now()); err != nil {
		return nil, err
	}
	go keys.Run(ctx, hup)
	return keys, nil
}

func drain(ctx context.Context, node *shop.Node, limit time.Duration, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	out := node.Drain(ctx)
	log.Info("drained", "sessions", out.Sessions, "unacknowledged", len(out.Unacknowledged), "took", time.Since(began).String())
}

// serve runs until a signal ends ctx and then stops in order: the sessions go to
// their clients, within limit; then polls and WebSockets end, and the HTTP server.
// stop gives the next signal its default action, which ends the program.
func serve(ctx context.Context, stop func(), l net.Listener, node *shop.Node, limit time.Duration, log *slog.Logger) error {
	server := &http.Server{Handler: node, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	go node.Run(ctx)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fail(exitFailure, err)
	case <-ctx.Done():
	}
	stop()
	log.Info("stopping")
	ctx = context.WithoutCancel(ctx)
	drain(ctx, node, limit, log)
	wait, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := errors.Join(node.Shutdown(wait), server.Shutdown(wait))
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // who is slow now is cut off; the sessions are with their clients
	}
	if err != nil {
		return fail(exitFailure, fmt.Errorf("stopping: %w", err))
	}
	return nil
}
