package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/pgstore"
	"github.com/spf13/cobra"
)

func newReplay() *cobra.Command {
	cmd := &cobra.Command{Use: "replay", Short: "Look at and tend a replay store", Args: cobra.NoArgs,
		Long: `Look at and tend a replay store: the memory of what was spent, and of how far each
session has come. A store is named by a URL:

  file:PATH                          a folder, for the nodes of this host
  redis://[USER@]HOST[:PORT][/DB]    a Redis, or one of a Cluster; rediss:// over TLS
  postgres://USER@HOST/DATABASE      a PostgreSQL, after blobctl replay migrate
  mem:, none:                        for serve: this process alone; no memory at all

A URL has no password in it, since it is everybody's to read who sees the processes.
Redis: the environment's REDISCLI_AUTH, or ?password-file=FILE. PostgreSQL: as for
psql, in the file of PGPASSFILE, in ~/.pgpass or in PGPASSWORD; and libpq's other
settings, such as ?sslmode=verify-full. Redis has also ?name=NAME, of the store among
others, ?addr=HOST:PORT for further nodes of a Cluster, ?replicas=N,
?keep-on-restart=true and ?leave-purge=true, as in redisstore.Config.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage("replay wants status, purge, horizon, raise-epoch, accept-failover or migrate")
		}}
	cmd.AddCommand(newReplayStatus(), newReplayPurge(), newReplayHorizon(), newReplayRaiseEpoch(), newReplayAcceptFailover(), newReplayMigrate())
	return cmd
}

// replayCommand opens the store of its argument, does act, and prints the store's
// status with show, or as JSON.
type replayCommand struct {
	use, short, long string
	may              access
	revives          bool                                              // with --make it may do what mayRevive says
	postgres         bool                                              // only of that kind
	vouch            string                                            // the flag without which nothing is done
	uncounted        bool                                              // show wants no counts, which can take minutes on a large table
	act              func(cmd *cobra.Command, s replay.Operable) error // nil: only look
	show             func(cmd *cobra.Command, before, after replay.Status) error
}

func (c replayCommand) command() *cobra.Command {
	var asJSON, makeIt, vouched bool
	cmd := &cobra.Command{Use: c.use + " URL", Short: c.short, Long: c.long, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if makeIt {
				c.may = mayRevive
			}
			if c.vouch != "" && !vouched {
				return &failure{exitUsage, fmt.Errorf("%s needs --%s, which is yours to say", c.use, c.vouch), "blobctl replay raise-epoch, if you are not sure"}
			}
			return c.run(cmd, args[0], asJSON)
		}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, version 1")
	if c.revives {
		cmd.Flags().BoolVar(&makeIt, "make", false, "begin an empty store where there is none")
	}
	if c.vouch != "" {
		cmd.Flags().BoolVar(&vouched, c.vouch, false, "the new primary has all that the old one answered")
	}
	return cmd
}

func (c replayCommand) run(cmd *cobra.Command, url string, asJSON bool) error {
	if c.postgres {
		if _, err := postgresURL(url, c.use); err != nil {
			return err
		}
	}
	store, err := openStore(cmd.Context(), url, c.may)
	if err != nil {
		return err
	}
	defer store.Close()
	s, ok := store.(replay.Operable)
	if !ok {
		return usage("this store has nothing to tend")
	}
	status := s.Status
	if c.uncounted {
		status = func(ctx context.Context) (replay.Status, error) {
			epoch, err := store.Epoch(ctx)
			return replay.Status{Epoch: epoch}, err
		}
	}
	before, err := status(cmd.Context())
	if err != nil && c.may < mayAdopt { // a copy tells no epoch until its own was raised
		return fail(exitFailure, err)
	}
	after := before
	if c.act != nil {
		if err := c.act(cmd, s); err != nil {
			return fail(exitFailure, err)
		}
		if after, err = status(cmd.Context()); err != nil {
			return fail(exitFailure, fmt.Errorf("%s is done, but its result can't be read: %w", c.use, err))
		}
	}
	if asJSON {
		return printJSON(cmd, "replay "+c.use, c.fields(before, after))
	}
	return c.show(cmd, before, after)
}

func (c replayCommand) fields(before, after replay.Status) map[string]any {
	if c.uncounted {
		return map[string]any{"epoch": after.Epoch.UTC().Format(time.RFC3339)}
	}
	return statusFields(before, after)
}

// statusFields are the members of the JSON of a command that counts; purged is what
// is gone since it began.
func statusFields(before, after replay.Status) map[string]any {
	fields := map[string]any{
		"rights": after.Rights, "sessions": after.Sessions, "subjects": after.Subjects, "bytes": after.Bytes,
		"epoch": after.Epoch.UTC().Format(time.RFC3339), "purged": max(records(before)-records(after), 0),
	}
	if !after.Horizon.IsZero() {
		fields["horizon"] = after.Horizon.UTC().Format(time.RFC3339)
	}
	return fields
}

func records(s replay.Status) int { return s.Rights + s.Sessions + s.Subjects }

func horizonText(s replay.Status) string {
	if s.Horizon.IsZero() {
		return "none"
	}
	return s.Horizon.UTC().Format(time.RFC3339)
}

func newReplayMigrate() *cobra.Command {
	return &cobra.Command{
		Use: "migrate URL", Short: "Make or update a PostgreSQL store's tables", Args: cobra.ExactArgs(1),
		Long: `Make the schema "sealedblob" in a PostgreSQL database, or bring an older one up to date;
if it is, nothing changes. Who logs in owns it. The nodes should log in as another role,
which the owner lets in, once: SELECT sealedblob.admit('ROLE')`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := migratePostgres(cmd.Context(), args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "the schema is up to date")
			return err
		},
	}
}

func newReplayStatus() *cobra.Command {
	return replayCommand{
		use: "status", short: "Count a store's records and tell its epoch and horizon", may: readOnly,
		long: `Count the records of a replay store, those past their time included, and tell its
epoch (what was issued before is refused), its horizon (what is kept no longer than
that is refused) and its size. Nothing is written, and nothing is repaired.`,
		show: func(cmd *cobra.Command, _, s replay.Status) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "rights\t%d\nsessions\t%d\nsubjects\t%d\nbytes\t%d\nepoch\t%s\nhorizon\t%s\n",
				s.Rights, s.Sessions, s.Subjects, s.Bytes, s.Epoch.UTC().Format(time.RFC3339), horizonText(s))
			return w.Flush()
		},
	}.command()
}

func newReplayPurge() *cobra.Command {
	return replayCommand{
		use: "purge", short: "Forget what is past its time", may: mayWrite,
		long: `Forget all records that are past their time, at once, and give their room back. A
store does so by itself as it is written to. Nothing that could still be accepted is
forgotten. It can be done while nodes run.`,
		act: func(cmd *cobra.Command, s replay.Operable) error { return s.Purge(cmd.Context()) },
		show: func(cmd *cobra.Command, before, after replay.Status) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "purged %d records, %d are left, horizon %s\n",
				max(records(before)-records(after), 0), records(after), horizonText(after))
			return err
		},
	}.command()
}

func newReplayHorizon() *cobra.Command {
	return replayCommand{
		use: "horizon", short: "Tell up to when a store has forgotten", may: readOnly,
		long: `Print the largest time until which anything was kept that the store has forgotten, or
none. What is to be kept no longer than that is refused, also when the clock goes back.`,
		show: func(cmd *cobra.Command, _, s replay.Status) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), horizonText(s))
			return err
		},
	}.command()
}

func newReplayRaiseEpoch() *cobra.Command {
	return replayCommand{
		use: "raise-epoch", short: "Refuse everything issued until now", may: mayAdopt, revives: true, uncounted: true,
		long: `Make the store's memory begin now: every right, set and login from before is refused
for good, on all nodes. Do it after the store was put back from a backup, since it
can't know what was spent, logged out or revoked since. Users begin again. It can be
done while nodes run. A folder that sees that it is a copy is opened by no other
command until then.

Where there is no store that is an error, since the URL may be wrong; with --make an
empty one is begun, in place of one that was lost.`,
		act: func(cmd *cobra.Command, s replay.Operable) error { return s.RaiseEpoch(cmd.Context()) },
		show: func(cmd *cobra.Command, before, after replay.Status) error {
			was := "not to be known"
			if !before.Epoch.IsZero() {
				was = before.Epoch.UTC().Format(time.RFC3339)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "epoch %s, it was %s\n", after.Epoch.UTC().Format(time.RFC3339), was)
			return err
		},
	}.command()
}

func newReplayAcceptFailover() *cobra.Command {
	return replayCommand{
		use: "accept-failover", short: "Go on with the memory after a failover that lost nothing", may: mayAdopt, postgres: true, vouch: "nothing-lost", uncounted: true,
		long: `Go on with a PostgreSQL store's memory on the server that took over. The store refuses
that server, since it can't know what the old one still answered: whatever was spent,
logged out or revoked there and did not arrive could be had again. Say --nothing-lost
if replication was synchronous, the new primary was the standby that commits waited
for, and nobody cancelled such a wait. Make sure that the old primary is off. If you
are not sure of each of these: blobctl replay raise-epoch.

A database that was restored or copied is refused all the same. It is for the owner
of the schema, and can be done while nodes run.`,
		act: func(cmd *cobra.Command, s replay.Operable) error {
			return s.(*pgstore.Store).AcceptFailover(cmd.Context()) // by its URL
		},
		show: func(cmd *cobra.Command, _, after replay.Status) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "the memory goes on, epoch %s\n", after.Epoch.UTC().Format(time.RFC3339))
			return err
		},
	}.command()
}
