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
		owner, err := url.Parse(server.DSN)
		must(t, err)
		password, _ := owner.User.Password()
		role, database := "web_"+strings.ToLower(rand.Text()), owner.Path[1:]
		server.SQL(fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'web'", role))
		t.Cleanup(func() { server.SQL(fmt.Sprintf("DROP OWNED BY %s; DROP ROLE %s", role, role)) })
		web := *owner
		owner.User, web.User = url.User(owner.User.Username()), url.User(role)
		stores(t, "postgres", map[string]string{
			"OWNER": owner.String(), "WEB": web.String(), "SECRET": server.DSN, "PASSWORD": password, "DATABASE": database, "WEBROLE": "'" + role + "'",
			"PGPASS": fmt.Sprintf("*:*:*:%s:web\n*:*:*:*:%s\n", role, password),
		}, func(_ *testscript.TestScript, args []string) string { return server.SQL(args[0]) })
	})
}

// stores runs one script; ask is its command for the server itself, redis or sql.
func stores(t *testing.T, name string, variables map[string]string, ask func(*testscript.TestScript, []string) string) {
	all := maps.Clone(commands)
	command := func(ts *testscript.TestScript, neg bool, args []string) {
		for i := range args {
			args[i] = os.Expand(args[i], ts.Getenv)
		}
		fmt.Fprint(ts.Stdout(), ask(ts, args))
	}
	all["redis"], all["sql"] = command, command
	testscript.Run(t, testscript.Params{
		Files: []string{filepath.Join("testdata/stores", name+".txtar")},
		Cmds:  all,
		Setup: func(env *testscript.Env) error {
			env.Setenv("NOBODY", "127.0.0.1:1") // tcpmux, which nobody runs
			for name, value := range variables {
				env.Setenv(name, value)
			}
			return os.WriteFile(filepath.Join(env.WorkDir, "pgpass"), []byte(variables["PGPASS"]), 0o600)
		},
	})
}
