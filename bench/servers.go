package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/pgstore"
	"github.com/sealedblob/sealedblob/replay/redisstore"
)

// host stands in for a test, to which the servers of package services belong. What
// they need of it is here; the rest would panic.
type host struct {
	testing.TB
	cleanup []func()
}

// failure is what a server died of.
type failure struct{ error }

func (h *host) Helper()                   {}
func (h *host) Cleanup(f func())          { h.cleanup = append(h.cleanup, f) }
func (h *host) Fatal(args ...any)         { panic(failure{errors.New(fmt.Sprint(args...))}) }
func (h *host) Fatalf(f string, a ...any) { panic(failure{fmt.Errorf(f, a...)}) }

func (h *host) release() {
	for i := range h.cleanup {
		h.cleanup[len(h.cleanup)-1-i]()
	}
}

// onServer starts one server for all stores of a contest. Its data are on the disk
// that TMPDIR is on.
func onServer(start func(*host) (where string)) func() (func() (string, error), func(), error) {
	return func() (_ func() (string, error), release func(), err error) {
		h := &host{}
		defer func() {
			switch died := recover().(type) {
			case nil:
			case failure:
				h.release()
				err = died
			default:
				panic(died)
			}
		}()
		where := start(h)
		return func() (string, error) { return where, nil }, h.release, nil
	}
}

// redisServer keeps nothing on disk, or syncs each write.
func redisServer(options ...string) func(*host) string {
	return func(h *host) string { return services.Redis(h, options...).Addr }
}

// postgresServer has PostgreSQL's default settings, so that it syncs each commit,
// and room for the pools together.
func postgresServer(h *host) string {
	return services.PostgresServer(h, "max_connections=300").DSN
}

// processes is the CPU time of a process and of the children that it has.
func processes(pid int) (total time.Duration, err error) {
	list := []int{pid}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		var child, parent int
		id, rest, _ := strings.Cut(string(text), " (") // then the name, and a letter for the state
		if _, err := fmt.Sscanf(id+rest[strings.LastIndexByte(rest, ')')+3:], "%d %d", &child, &parent); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		if parent == pid {
			list = append(list, child)
		}
	}
	for _, pid := range list {
		used, err := threads(pid)
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

// threads is the CPU time of all threads of a process.
func threads(pid int) (total time.Duration, err error) {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		var ns int64
		if _, err := fmt.Sscan(string(text), &ns); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		total += time.Duration(ns)
	}
	return total, nil
}

// redises are clients of one Redis. Each writes under a name of its own.
var redises = []maker{
	{"rueidis SET", openRueidis},
	{"go-redis SET", openGoRedis},
	{"redisstore", func(address string) (claimer, error) {
		used, err := redisProcess(address)
		if err != nil {
			return claimer{}, err
		}
		s, err := openRedisStore(address)
		if err != nil {
			return claimer{}, err
		}
		return ofServer(s, used)
	}},
}

func openRedisStore(address string) (*redisstore.Store, error) {
	return redisstore.Open(context.Background(), redisstore.Config{
		Client: rueidis.ClientOption{InitAddress: []string{address}}, MaxRights: room,
	})
}

// redisProcess asks Redis for its process.
func redisProcess(address string) (func() (time.Duration, error), error) {
	c := redis.NewClient(&redis.Options{Addr: address})
	defer c.Close()
	info, err := c.Info(context.Background(), "server").Result()
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(strings.NewReader(info))
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "process_id:"); ok {
			pid, err := strconv.Atoi(text)
			return func() (time.Duration, error) { return processes(pid) }, err
		}
	}
	return nil, errors.New("the server does not tell its process")
}

// openRueidis is the fastest client that we know; it gathers concurrent commands.
func openRueidis(address string) (claimer, error) {
	used, err := redisProcess(address)
	if err != nil {
		return claimer{}, err
	}
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true})
	if err != nil {
		return claimer{}, err
	}
	return claimer{
		claim: func(c claim) (bool, error) {
			err := client.Do(context.Background(), client.B().Set().Key("rueidis:"+string(c.id[:])).Value(string(c.owner[:])).
				Nx().PxMilliseconds(time.Until(c.keepUntil).Milliseconds()).Build()).Error()
			if rueidis.IsRedisNil(err) {
				return false, nil
			}
			return err == nil, err
		},
		server: used,
		close:  func() error { client.Close(); return nil },
	}, nil
}

func openGoRedis(address string) (claimer, error) {
	used, err := redisProcess(address)
	if err != nil {
		return claimer{}, err
	}
	client := redis.NewClient(&redis.Options{Addr: address})
	return claimer{
		claim: func(c claim) (bool, error) {
			err := client.SetArgs(context.Background(), "goredis:"+string(c.id[:]), c.owner[:],
				redis.SetArgs{Mode: "NX", TTL: time.Until(c.keepUntil)}).Err()
			if errors.Is(err, redis.Nil) {
				return false, nil
			}
			return err == nil, err
		},
		server: used,
		close:  client.Close,
	}, nil
}

// plainPGX has as many connections as help: with 256 of them 256 callers were served
// no more than a tenth faster.
const (
	plainPGX = "pgx INSERT, 64 connections"
	samePGX  = "pgx INSERT, 8 connections" // as many as pgstore has, unless told otherwise
)

// postgreses are clients of one PostgreSQL.
var postgreses = []maker{
	{plainPGX, func(dsn string) (claimer, error) { return openPGX(dsn, 64) }},
	{samePGX, func(dsn string) (claimer, error) { return openPGX(dsn, 8) }},
	{"pgstore", openPGStore},
}

func openPGStore(dsn string) (claimer, error) {
	pool, err := pgxpool.New(context.Background(), dsn)
	if err != nil {
		return claimer{}, err
	}
	used, err := postgresProcess(pool)
	pool.Close()
	if err == nil {
		err = pgstore.Migrate(context.Background(), dsn)
	}
	if err != nil {
		return claimer{}, err
	}
	s, err := pgstore.Open(context.Background(), pgstore.Config{URL: dsn})
	if err != nil {
		return claimer{}, err
	}
	return ofServer(s, used)
}

// ofServer claims in a store of ours whose server has this CPU time.
func ofServer(s replay.Store, used func() (time.Duration, error)) (claimer, error) {
	c, err := ofStore(s)
	c.server = used
	return c, err
}

// postgresProcess asks PostgreSQL for its first process, the parent of all.
func postgresProcess(pool *pgxpool.Pool) (func() (time.Duration, error), error) {
	var text string
	err := pool.QueryRow(context.Background(), "SELECT pg_read_file('postmaster.pid')").Scan(&text)
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(text, "\n")
	pid, err := strconv.Atoi(first)
	return func() (time.Duration, error) { return processes(pid) }, err
}

// openPGX inserts each right with a statement of its own, prepared once for each
// connection.
func openPGX(dsn string, connections int32) (claimer, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return claimer{}, err
	}
	config.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return claimer{}, err
	}
	used, err := postgresProcess(pool)
	table := pgx.Identifier{fmt.Sprintf("rights_%d", connections)}.Sanitize()
	if err == nil {
		_, err = pool.Exec(context.Background(), "CREATE TABLE IF NOT EXISTS "+table+" (id bytea PRIMARY KEY, owner bytea NOT NULL, keep bigint NOT NULL)")
	}
	if err != nil {
		pool.Close()
		return claimer{}, err
	}
	insert := "INSERT INTO " + table + " VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
	return claimer{
		claim: func(c claim) (bool, error) {
			tag, err := pool.Exec(context.Background(), insert, c.id[:], c.owner[:], c.keepUntil.Unix())
			return err == nil && tag.RowsAffected() == 1, err
		},
		server: used,
		close:  func() error { pool.Close(); return nil },
	}, nil
}
