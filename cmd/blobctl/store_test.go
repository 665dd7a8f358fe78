package main

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sealedblob/sealedblob/internal/services"
)

// The scripts of stores, each with a real server of its own, or its own database.
func TestStoreScripts(t *testing.T) {
	t.Run("redis", func(t *testing.T) {
		server := services.Redis(t)
		stores(t, "redis", map[string]string{"REDIS": server.Addr}, func(ts *testscript.TestScript, args []string) string {
			if secret := ts.Getenv("REDISCLI_AUTH"); secret != "" {
				args = append([]string{"-a", secret, "--no-auth-warning"}, args...)
			}
			return server.Redis(args...)
		})
	})
	t.Run("postgres", func(t *testing.T) {
		server := services.Postgres(t)
		stores(t, "postgres", postgresVariables(t, server), func(_ *testscript.TestScript, args []string) string { return server.SQL(args[0]) })
	})
	t.Run("failover", func(t *testing.T) {
		server := services.PostgresServer(t)
		variables := postgresVariables(t, server)
		standby := services.PostgresStandby(t, server)
		for _, name := range []string{"OWNER", "WEB"} {
			variables["NEW"+name] = strings.Replace(variables[name], server.Addr, standby.Addr, 1)
		}
		stores(t, "failover", variables, func(_ *testscript.TestScript, args []string) string {
			if args[0] != "failover" {
				return server.SQL(args[0])
			}
			failOver(t, server, standby)
			return ""
		})
	})
}

// postgresVariables are what the scripts know of a database: the URLs of its owner and
// of a node's role that is made for them, and the passwords of both.
func postgresVariables(t *testing.T, server *services.Server) map[string]string {
	t.Helper()
	owner, err := url.Parse(server.DSN)
	must(t, err)
	password, _ := owner.User.Password()
	role, database := "web_"+strings.ToLower(rand.Text()), owner.Path[1:]
	server.SQL(fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'web'", role))
	t.Cleanup(func() {
		if server.Dir == "" { // else its roles end with it
			server.SQL(fmt.Sprintf("DROP OWNED BY %s; DROP ROLE %s", role, role))
		}
	})
	web := *owner
	owner.User, web.User = url.User(owner.User.Username()), url.User(role)
	return map[string]string{
		"OWNER": owner.String(), "WEB": web.String(), "SECRET": server.DSN, "PASSWORD": password, "DATABASE": database, "WEBROLE": "'" + role + "'",
		"PGPASS": fmt.Sprintf("*:*:*:%s:web\n*:*:*:*:%s\n", role, password),
	}
}

// failOver has the standby take over when it has all of the server, which is killed.
func failOver(t *testing.T, server, standby *services.Server) {
	t.Helper()
	last := server.SQL("SELECT pg_current_wal_flush_lsn()")
	for limit := time.Now().Add(20 * time.Second); standby.SQL("SELECT pg_last_wal_replay_lsn() >= '"+last+"'") != "t"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the standby lags behind")
		}
	}
	server.Kill()
	standby.SQL("SELECT pg_promote()")
}

// stores runs one script; ask is its command for the server itself, redis, sql or server.
func stores(t *testing.T, name string, variables map[string]string, ask func(*testscript.TestScript, []string) string) {
	all := maps.Clone(commands)
	command := func(ts *testscript.TestScript, neg bool, args []string) {
		for i := range args {
			args[i] = os.Expand(args[i], ts.Getenv)
		}
		fmt.Fprint(ts.Stdout(), ask(ts, args))
	}
	all["redis"], all["sql"], all["server"] = command, command, command
	testscript.Run(t, testscript.Params{
		Files: []string{filepath.Join("testdata/stores", name+".txtar")},
		Cmds:  all,
		Setup: func(env *testscript.Env) error {
			env.Setenv("NOBODY", "127.0.0.1:1") // tcpmux, which nobody runs
			for name, value := range variables {
				env.Setenv(name, value)
			}
			if err := atOnce(env); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(env.WorkDir, "pgpass"), []byte(variables["PGPASS"]), 0o600)
		},
	})
}
