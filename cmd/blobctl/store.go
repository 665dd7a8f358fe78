package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/filestore"
	"github.com/sealedblob/sealedblob/replay/pgstore"
	"github.com/sealedblob/sealedblob/replay/redisstore"
)

// access is what a command may do with a replay store.
type access int

const (
	readOnly  access = iota // verify: write nothing, not even a repair
	mayWrite                // take: a mistyped path must not look like an empty memory
	mayMake                 // serve, seal: whoever issues rights makes the store
	mayAdopt                // raise-epoch, accept-failover: a copy of a store, of which that is to be decided
	mayRevive               // raise-epoch --make: the same, or a store where there is none
)

const (
	makeHint = "is the URL right? blobctl serve, blobctl seal --replay and blobctl replay raise-epoch --make make one"
	urlHint  = "use file:PATH, redis://HOST, rediss://HOST, postgres://USER@HOST/DATABASE, mem: (this process only) or none:"
)

// openStore opens the replay store of a URL.
func openStore(ctx context.Context, text string, may access) (replay.Store, error) {
	scheme, rest, ok := cutScheme(text)
	switch {
	case ok && (scheme == "mem" || scheme == "none") && rest == "" && may != mayMake:
		return nil, &failure{exitUsage, fmt.Errorf("%s: keeps nothing beyond this command, so that it can't tell what is spent", scheme), "use file:PATH"}
	case ok && scheme == "mem" && rest == "":
		return replay.NewMemory(replay.MemoryConfig{}), nil
	case ok && scheme == "none" && rest == "":
		return replay.None{}, nil
	case ok && scheme == "file" && rest != "":
		return openFile(rest, may)
	case ok && (scheme == "redis" || scheme == "rediss"):
		return openRedis(ctx, scheme+":"+rest, may)
	case ok && isPostgres(scheme):
		return openPostgres(ctx, scheme+":"+rest, may)
	case ok && strings.HasPrefix(rest, "//"):
		return nil, &failure{exitUsage, fmt.Errorf("no replay store is known by %s://", scheme), urlHint}
	}
	return nil, &failure{exitUsage, errNoURL, urlHint}
}

// errNoURL repeats nothing: what was meant as a URL may hold a password.
var errNoURL = errors.New("--replay: not a URL")

// cutScheme takes a URL's scheme off, in lower case as RFC 3986 section 3.1 has it.
// What holds other characters is no scheme, and perhaps half of a password.
func cutScheme(text string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(text, ":")
	scheme = strings.ToLower(scheme)
	return scheme, rest, ok && strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

func openFile(path string, may access) (replay.Store, error) {
	if _, err := os.Lstat(path); err != nil && may != mayMake && may != mayRevive {
		return nil, &failure{exitUsage, fmt.Errorf("no replay store: %w", err), makeHint}
	}
	store, err := filestore.Open(path, filestore.Config{ReadOnly: may == readOnly, AfterRestore: may >= mayAdopt})
	if err != nil {
		return nil, fail(exitFailure, err)
	}
	return store, nil
}

// parseURL reads a server's URL. A password in it would be everybody's to read who
// sees the processes of the host, so it is refused; where says how to give it.
func parseURL(text, where string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil { // its error repeats the URL, and perhaps a password
		return nil, &failure{exitUsage, errNoURL, urlHint}
	}
	_, inside := u.User.Password()
	for name := range u.Query() {
		inside = inside || strings.Contains(name, "password") && name != "password-file"
	}
	if inside {
		return nil, &failure{exitUsage, errors.New("a password on the command line is everybody's to read"), where}
	}
	return u, nil
}

const redisPassword = "its password comes from the environment, REDISCLI_AUTH, or from ?password-file=FILE"

func openRedis(ctx context.Context, text string, may access) (replay.Store, error) {
	cfg, err := redisConfig(text)
	if err != nil {
		return nil, err
	}
	cfg.Tend = may == mayWrite
	if may == mayAdopt { // opening makes what is not there
		cfg.ReadOnly = true
		store, err := redisstore.Open(ctx, cfg)
		if err != nil {
			return nil, redisFailure(err)
		}
		store.Close()
	}
	cfg.ReadOnly = may == readOnly
	store, err := redisstore.Open(ctx, cfg)
	if err != nil {
		return nil, redisFailure(err)
	}
	return store, nil
}

// redisFailure adds what a newcomer may do about it.
func redisFailure(err error) error {
	f := &failure{exitFailure, err, ""}
	switch {
	case errors.Is(err, redisstore.ErrGone):
		f.hint = makeHint
	case !errors.Is(err, redisstore.ErrUnfit):
		f.hint = "redis://USER@HOST:6379; " + redisPassword
	}
	return f
}

// redisConfig is what a URL says: that of redisstore.ParseURL, and more that a node
// may want.
func redisConfig(text string) (cfg redisstore.Config, err error) {
	u, err := parseURL(text, redisPassword)
	if err != nil {
		return cfg, err
	}
	more := u.Query()
	own := url.Values{}
	if name, is := more["name"]; is {
		own["name"] = name
		delete(more, "name")
	}
	u.RawQuery = own.Encode()
	if cfg, err = redisstore.ParseURL(u.String()); err != nil { // its error shows where a password goes
		return cfg, &failure{exitUsage, errors.New("--replay: want redis://[USER@]HOST[:PORT][/DATABASE][?name=NAME], or rediss:// for TLS"), redisPassword}
	}
	cfg.Client.Password = os.Getenv("REDISCLI_AUTH")
	for name, values := range more {
		switch value := values[len(values)-1]; name {
		case "addr":
			cfg.Client.InitAddress = append(cfg.Client.InitAddress, values...)
		case "password-file":
			cfg.Client.Password, err = passwordOf(value)
		case "replicas":
			cfg.Replicas, err = strconv.Atoi(value)
		case "keep-on-restart":
			cfg.KeepOnRestart, err = strconv.ParseBool(value)
		case "leave-purge":
			cfg.LeavePurge, err = strconv.ParseBool(value)
		default:
			return cfg, &failure{exitUsage, fmt.Errorf("a Redis URL has no %q", name), "there are name, addr, password-file, replicas, keep-on-restart and leave-purge"}
		}
		if err != nil {
			return cfg, fail(exitUsage, fmt.Errorf("%s: %w", name, err))
		}
	}
	return cfg, nil
}

// passwordOf is the first line of a file.
func passwordOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := readAtMost(f, 4096)
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSuffix(line, "\r"), err
}

const postgresPassword = "its password comes from the file of PGPASSFILE, ~/.pgpass, or from PGPASSWORD"

func openPostgres(ctx context.Context, text string, may access) (replay.Store, error) {
	if _, err := parseURL(text, postgresPassword); err != nil {
		return nil, err
	}
	store, err := pgstore.Open(ctx, pgstore.Config{URL: text, Restored: may >= mayAdopt})
	if err != nil {
		return nil, postgresFailure(err)
	}
	return store, nil
}

func isPostgres(scheme string) bool { return scheme == "postgres" || scheme == "postgresql" }

// postgresURL is text with its scheme in lower case, if the command that is for
// PostgreSQL alone may have it.
func postgresURL(text, command string) (string, error) {
	scheme, rest, ok := cutScheme(text)
	if !ok || !isPostgres(scheme) {
		return "", usage("%s is for postgres://USER@HOST/DATABASE; other stores need none", command)
	}
	text = scheme + ":" + rest
	_, err := parseURL(text, postgresPassword)
	return text, err
}

func migratePostgres(ctx context.Context, text string) error {
	text, err := postgresURL(text, "migrate")
	if err != nil {
		return err
	}
	if err := pgstore.Migrate(ctx, text); err != nil {
		return postgresFailure(err)
	}
	return nil
}

// postgresFailure adds what a newcomer may do about it.
func postgresFailure(err error) error {
	f := &failure{exitFailure, err, ""}
	switch {
	case errors.Is(err, pgstore.ErrSchema):
		f.hint = "as the owner: blobctl replay migrate makes the tables, and in SQL SELECT sealedblob.admit('ROLE') lets a node's role in"
	case errors.Is(err, pgstore.ErrRestored):
		f.hint = "as the owner: blobctl replay raise-epoch, or accept-failover if a standby took over that had everything"
	case !errors.Is(err, pgstore.ErrUnfit):
		f.hint = "postgres://USER@HOST:5432/DATABASE; " + postgresPassword
	}
	return f
}
