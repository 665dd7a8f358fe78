package services

import (
	"crypto/rand"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// postgresUser runs PostgreSQL where the tests run as root, which it refuses to be.
const postgresUser = "postgres"

var sharedPostgres struct {
	sync.Mutex
	server *Server
}

// Postgres makes a fresh database, which ends with the test, in a server that all
// tests of the process share: the one at SEALEDBLOB_TEST_POSTGRES, which is a
// superuser's URL, or one of the process's own with PostgreSQL's default settings.
// Roles belong to the server, not to the database: a test makes names of its own.
func Postgres(tb testing.TB) *Server {
	tb.Helper()
	dsn := os.Getenv("SEALEDBLOB_TEST_POSTGRES")
	if dsn == "" {
		sharedPostgres.Lock()
		defer sharedPostgres.Unlock()
		if sharedPostgres.server == nil {
			sharedPostgres.server = newPostgres(tb, nil)
		}
		dsn = sharedPostgres.server.DSN
	}
	server := &Server{tb: tb, DSN: dsn}
	name := "test_" + strings.ToLower(rand.Text()[:16])
	server.SQL("CREATE DATABASE " + name)
	tb.Cleanup(func() { server.SQL("DROP DATABASE " + name + " WITH (FORCE)") })
	u, err := url.Parse(dsn)
	if err != nil {
		tb.Fatal("services: SEALEDBLOB_TEST_POSTGRES is not a URL")
	}
	u.Path = "/" + name
	return &Server{tb: tb, Addr: u.Host, DSN: u.String()}
}

// PostgresServer starts a server of the test's own, with settings such as
// "wal_level=minimal". It syncs each commit unless they say otherwise.
func PostgresServer(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s := newPostgres(tb, settings)
	tb.Cleanup(s.discard)
	return s
}

func newPostgres(tb testing.TB, settings []string) *Server {
	tb.Helper()
	s := postgresFolder(tb)
	password := rand.Text()
	file := filepath.Join(s.Dir, "password")
	if err := os.WriteFile(file, []byte(password), 0o644); err != nil { // in a folder of 0700
		tb.Fatal(err)
	}
	// What initdb writes is synced by nobody: a test's machine does not crash.
	prepare(tb, postgres(tb, "initdb", "--no-sync", "--username=postgres", "--pwfile="+file, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--pgdata="+s.data())...)
	s.serve(settings)
	s.DSN = (&url.URL{Scheme: "postgres", User: url.UserPassword("postgres", password), Host: s.Addr, Path: "/postgres", RawQuery: "sslmode=disable"}).String()
	return s
}

// PostgresStandby starts a hot standby that follows another server of the test's own.
func PostgresStandby(tb testing.TB, of *Server, settings ...string) *Server {
	tb.Helper()
	of.own("a standby")
	s := postgresFolder(tb)
	tb.Cleanup(s.discard)
	prepare(tb, postgres(tb, "pg_basebackup", "--no-sync", "--write-recovery-conf", "--checkpoint=fast", "--dbname="+of.DSN, "--pgdata="+s.data())...)
	// What pg_basebackup wrote may have options that an older server does not know.
	s.serve(append([]string{"primary_conninfo=" + of.DSN}, settings...))
	of.await("the standby", func() bool {
		return of.SQL("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") != "0"
	})
	u, err := url.Parse(of.DSN)
	if err != nil {
		tb.Fatal(err)
	}
	u.Host = s.Addr
	s.DSN = u.String()
	return s
}

// SQL runs a statement as the superuser and returns its rows, columns apart by |.
func (s *Server) SQL(statement string) string {
	s.tb.Helper()
	out, err := exec.Command("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1",
		"--command="+statement, "--dbname="+s.DSN).CombinedOutput()
	if err != nil {
		s.tb.Fatalf("services: psql: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// postgresFolder makes a server's folder, which is that user's who will run it.
func postgresFolder(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{tb: tb, kind: kind{"postgres", "INT", postgresReady}, Dir: folder(tb, "postgres")}
	if os.Geteuid() != 0 {
		return s
	}
	u, err := user.Lookup(postgresUser)
	if err != nil {
		tb.Fatalf("services: %v; make need installs it", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(s.Dir, uid, gid); err != nil {
		tb.Fatal(err)
	}
	return s
}

// postgres is the command of one of PostgreSQL's programs, as a user that it accepts:
// of the one in PATH, or of the newest that Debian has.
func postgres(tb testing.TB, name string, arguments ...string) []string {
	tb.Helper()
	var installed []string
	if _, err := exec.LookPath("postgres"); err != nil { // Debian's is not in PATH, but for a few that choose a version
		newest, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		for i := range newest {
			installed = append(installed, newest[len(newest)-1-i])
		}
	}
	command := append([]string{program(tb, append(installed, name)...)}, arguments...)
	if os.Geteuid() != 0 {
		return command
	}
	return append([]string{program(tb, "setpriv"), "--reuid=" + postgresUser, "--regid=" + postgresUser, "--clear-groups", "--"}, command...)
}

// prepare runs a program to its end.
func prepare(tb testing.TB, command ...string) {
	tb.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = "/" // the test's folder may not be that user's to enter
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("services: %s: %v: %s", command[0], err, out)
	}
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

func (s *Server) serve(settings []string) {
	s.tb.Helper()
	s.begin(func(port string) []string {
		command := postgres(s.tb, "postgres", "-D", s.data(), "-h", "127.0.0.1", "-p", port, "-k", "")
		for _, setting := range settings {
			command = append(command, "-c", setting)
		}
		return command
	})
}

// postgresReady reads what the server notes of itself: its process and state.
func postgresReady(s *Server) bool {
	text, _ := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	return len(lines) > 7 && lines[0] == strconv.Itoa(s.process.pid) && strings.TrimSpace(lines[7]) == "ready"
}
