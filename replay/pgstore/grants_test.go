package pgstore

import (
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/internal/services"
)

// A web node's login can do by itself what it was admitted to, and nothing else.
func TestGrants(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, allowed := range []string{
		"SELECT max(version) FROM sealedblob.migrations",
		"SELECT sealedblob.status()",
	} {
		sql(t, s.web, allowed)
	}
	var refused []string
	for _, table := range []string{"rights", "sessions", "subjects", "memory", "migrations"} {
		name := "sealedblob." + table
		refused = append(refused, "UPDATE "+name+" SET "+column[table]+" = "+column[table], "DELETE FROM "+name, "TRUNCATE "+name,
			"DROP TABLE "+name, "ALTER TABLE "+name+" ADD COLUMN more int", "CREATE INDEX ON "+name+" ("+column[table]+")",
			"CREATE TRIGGER t BEFORE INSERT ON "+name+" FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
			"DO 'BEGIN LOCK TABLE "+name+" IN ACCESS EXCLUSIVE MODE; END'", "SELECT * FROM "+name+" FOR UPDATE",
			"CREATE POLICY p ON "+name)
		refused = append(refused, "INSERT INTO "+name+" DEFAULT VALUES")
		if table != "migrations" {
			refused = append(refused, "SELECT * FROM "+name, "SELECT count(*) FROM "+name)
		}
	}
	refused = append(refused,
		"SELECT sealedblob.lengthen('{}', '{}', '{}')", "SELECT sealedblob.spend(gen_random_uuid(), '{}', '{}')",
		"DO 'BEGIN LOCK TABLE sealedblob.migrations IN SHARE UPDATE EXCLUSIVE MODE; END'",
		"SELECT sealedblob.raise_epoch()", "SELECT sealedblob.accept_failover()", "SELECT sealedblob.admit('"+s.roles.web+"')",
		"SELECT sealedblob.whereabouts()", "SELECT sealedblob.clock()", "SELECT sealedblob.latest()", "SELECT sealedblob.put(true, NULL, NULL, 1)",
		"SELECT sealedblob.enter('{0,0}', true, gen_random_uuid(), 0, 1, NULL, NULL)",
		"SELECT sealedblob.burn('{0,0}', gen_random_uuid(), '{}', '{}', '{}', '{}')",
		"CREATE FUNCTION sealedblob.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
		"CREATE OR REPLACE FUNCTION sealedblob.clock() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
		"DROP SCHEMA sealedblob CASCADE", "SET ROLE "+s.roles.owner,
	)
	web := dial(t, s.web)
	for _, statement := range refused {
		if _, err := runSQL(web, statement); state(err) != stateForbidden {
			t.Errorf("%s: %v, want SQLSTATE %s", statement, err, stateForbidden)
		}
	}
}

var column = map[string]string{"rights": "keep", "sessions": "fence", "subjects": "cut", "memory": "epoch", "migrations": "version"}

// The one change that a web node's login can make to a right is a later end, as its owner.
func TestLengthenOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id, owner, other := hexOf(newID()), hexOf(newOwner()), hexOf(newOwner())
	web, reader := dial(t, s.web), dial(t, s.owner)
	claim := func(owner, keep string) {
		t.Helper()
		_, err := runSQL(web, "SELECT sealedblob.claim('{0,0}', '{"+id+"}', '{"+owner+"}', ARRAY[extract(epoch FROM now())::bigint], '{"+keep+"}')")
		must(t, err)
	}
	read := func() string {
		t.Helper()
		got, err := runSQL(reader, "SELECT id || ' ' || owner || ' ' || keep FROM sealedblob.rights")
		must(t, err)
		return got
	}
	claim(owner, "4000000000")
	was := read()
	claim(owner, "3999999999")
	claim(other, "5000000000")
	if got := read(); got != was {
		t.Errorf("the right is %s, and was %s", got, was)
	}
	claim(owner, "5000000000")
	if got := read(); got != strings.Replace(was, "4000000000", "5000000000", 1) {
		t.Errorf("the right is %s, and was %s", got, was)
	}
}

// Objects of the caller's own with the names of what the functions use change nothing.
func TestSearchPath(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	script := `CREATE TEMPORARY TABLE rights (id uuid, owner uuid, keep bigint);
		CREATE TEMPORARY TABLE memory AS SELECT 9 AS epoch;
		CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'epoch'::timestamptz $$;
		CREATE FUNCTION pg_temp.greatest(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
		SET search_path = pg_temp, pg_catalog, sealedblob;
		SELECT epoch FROM sealedblob.recall('{0,0}')`
	if got, want := sql(t, s.web, script), sql(t, s.owner, "SELECT epoch FROM sealedblob.memory"); got != want {
		t.Errorf("epoch %s, want %s", got, want)
	}
	// Each function names its path; those that do not are inlined, and name all they use.
	loose := sql(t, s.owner, `SELECT coalesce(string_agg(proname, ' ' ORDER BY proname), '') FROM pg_proc
		WHERE pronamespace = 'sealedblob'::regnamespace AND NOT coalesce(proconfig::text LIKE '%search_path=pg_catalog, pg_temp%', false)`)
	if loose != "clock latest mark started" {
		t.Errorf("functions without a search_path: %s", loose)
	}
	if definers := sql(t, s.owner, `SELECT count(*) FROM pg_proc WHERE pronamespace = 'sealedblob'::regnamespace AND prosecdef
		AND NOT coalesce(proconfig::text LIKE '%search_path=pg_catalog, pg_temp%', false)`); definers != "0" {
		t.Errorf("%s functions of the owner's power without a search_path", definers)
	}
	open := sql(t, s.owner, `SELECT count(*) FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
		WHERE p.pronamespace = 'sealedblob'::regnamespace AND a.grantee = 0`)
	if open != "0" {
		t.Errorf("%s functions may be called by everybody", open)
	}
}

// A role that was not admitted is told so, and nothing else.
func TestNotAdmitted(t *testing.T) {
	t.Parallel()
	s := bareSite(t, services.Postgres(t), sharedRoles(t))
	must(t, Migrate(t.Context(), s.owner))
	_, err := Open(t.Context(), Config{URL: s.web})
	if err == nil || !strings.Contains(err.Error(), "not admitted") {
		t.Errorf("Open = %v", err)
	}
}
