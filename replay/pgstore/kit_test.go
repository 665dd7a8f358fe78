package pgstore

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// roles are an owner and a web node's login, which belong to a server.
type roles struct {
	owner, web, password string
}

func newRoles(t testing.TB, admin *services.Server) roles {
	t.Helper()
	tag := strings.ToLower(rand.Text()[:12])
	r := roles{"owner_" + tag, "web_" + tag, rand.Text()}
	as := " LOGIN PASSWORD '" + verifier(r.password) + "'; "
	sql(t, admin.DSN, "CREATE ROLE "+r.owner+as+"CREATE ROLE "+r.web+as)
	return r
}

// verifier is what the server keeps of a password (RFC 5803), of one iteration: with
// the 4096 of the server's own most of a login would be spent on them.
func verifier(password string) string {
	keyed := func(key []byte, text string) []byte {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	salt := rand.Text()[:16]
	salted := keyed([]byte(password), salt+"\x00\x00\x00\x01")
	stored := sha256.Sum256(keyed(salted, "Client Key"))
	text := base64.StdEncoding.EncodeToString
	return "SCRAM-SHA-256$1:" + text([]byte(salt)) + "$" + text(stored[:]) + ":" + text(keyed(salted, "Server Key"))
}

// site is a database with the schema, and how its users log in.
type site struct {
	server     *services.Server
	roles      roles
	owner, web string
}

// shared are the roles on the server that all tests share.
var shared struct {
	sync.Mutex
	roles
	admin string
}

func sharedRoles(t testing.TB) roles {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.admin == "" {
		admin := services.Postgres(t)
		shared.roles = newRoles(t, admin)
		u := parse(t, admin.DSN)
		u.Path = "/postgres"
		shared.admin = u.String()
	}
	return shared.roles
}

// dropShared ends the roles when all databases have ended.
func dropShared() error {
	if shared.admin == "" {
		return nil
	}
	_, err := trySQL(shared.admin, "DROP ROLE "+shared.owner+", "+shared.web)
	return err
}

func newSite(t testing.TB) site {
	t.Helper()
	return siteOn(t, services.Postgres(t), sharedRoles(t))
}

// siteOn migrates the database of server as the owner, and admits the web role.
func siteOn(t testing.TB, server *services.Server, r roles) site {
	t.Helper()
	s := bareSite(t, server, r)
	s.migrate(t)
	return s
}

// migrate makes a memory that began so long ago that what is issued now is after its epoch.
func (s site) migrate(t testing.TB) {
	t.Helper()
	must(t, Migrate(context.Background(), s.owner))
	sql(t, s.owner, "UPDATE sealedblob.memory SET epoch = epoch - 7; SELECT sealedblob.sign()")
	sql(t, s.owner, "SELECT sealedblob.admit('"+s.roles.web+"')")
}

// bareSite lets the owner make a schema in the database of server.
func bareSite(t testing.TB, server *services.Server, r roles) site {
	t.Helper()
	database := strings.TrimPrefix(parse(t, server.DSN).Path, "/")
	sql(t, server.DSN, "GRANT CREATE ON DATABASE "+database+" TO "+r.owner)
	return site{server, r, as(t, server.DSN, r.owner, r.password), as(t, server.DSN, r.web, r.password)}
}

func parse(t testing.TB, dsn string) *url.URL {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	return u
}

func as(t testing.TB, dsn, user, password string) string {
	t.Helper()
	u := parse(t, dsn)
	u.User = url.UserPassword(user, password)
	return u.String()
}

// sql runs a script and returns the first column of its last row, as text.
func sql(t testing.TB, dsn, script string) string {
	t.Helper()
	got, err := trySQL(dsn, script)
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return got
}

func trySQL(dsn, script string) (got string, err error) {
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.Background())
	return runSQL(conn, script)
}

func runSQL(conn *pgx.Conn, script string) (got string, err error) {
	results, err := conn.PgConn().Exec(context.Background(), script).ReadAll()
	for _, r := range results {
		for _, row := range r.Rows {
			got = string(row[0])
		}
	}
	return got, err
}

func dial(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// timed replaces the clock of a schema by one that tests shift.
const timed = `CREATE TABLE sealedblob.ahead (seconds bigint);
	INSERT INTO sealedblob.ahead VALUES (0);
	CREATE OR REPLACE FUNCTION sealedblob.clock() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'SELECT floor(extract(epoch FROM clock_timestamp()))::bigint + seconds FROM sealedblob.ahead'`

// shift moves a clock by d, rounded to whole seconds.
func shift(d time.Duration) string {
	return "UPDATE sealedblob.ahead SET seconds = seconds + " + strconv.FormatInt(int64(d/time.Second), 10)
}

// busy is time for an operation on a machine that has much else to do.
const busy = 30 * time.Second

// mustOpen opens a store that is as patient as a busy machine needs, unless cfg says.
func mustOpen(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = busy
	}
	s, err := Open(context.Background(), cfg)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, replay.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hexOf(id [16]byte) string { return hex.EncodeToString(id[:]) }

func newID() (id replay.ID) {
	rand.Read(id[:])
	return id
}

func newOwner() (o replay.Owner) {
	rand.Read(o[:])
	return o
}

func newRight() replay.Right {
	return replay.Right{ID: newID(), Issued: time.Now(), KeepUntil: time.Now().Add(time.Hour)}
}

// rightOf is a new right of s, whose epoch may just have been raised.
func rightOf(t testing.TB, s *Store) replay.Right {
	t.Helper()
	r := newRight()
	epoch, err := s.Epoch(context.Background())
	must(t, err)
	r.Issued = epoch
	return r
}

func restoring(session replay.ID, fence uint64, o replay.Owner) replay.RestoreRequest {
	return replay.RestoreRequest{
		Session: session, Set: replay.Version{Fence: fence, Gen: 1},
		Issued: time.Now(), KeepUntil: time.Now().Add(time.Hour), Attempt: o,
	}
}

func claims(t testing.TB, s replay.Spender, o replay.Owner, want replay.Outcome, rights ...replay.Right) {
	t.Helper()
	if got, err := s.Claim(context.Background(), o, rights...); got != want || err != nil {
		t.Fatalf("Claim = %v, %v, want %v", got, err, want)
	}
}
