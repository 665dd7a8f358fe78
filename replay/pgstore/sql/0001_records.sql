-- What the store keeps. Times are Unix seconds, ids and owners 16 bytes.

CREATE TABLE sealedblob.rights (
  id    uuid   PRIMARY KEY,
  owner uuid   NOT NULL,
  keep  bigint NOT NULL
);
CREATE INDEX rights_keep ON sealedblob.rights (keep);

CREATE TABLE sealedblob.sessions (
  id        uuid    PRIMARY KEY,
  keep      bigint  NOT NULL,
  fence     bigint  NOT NULL CHECK (fence >= 0),
  floor     bigint  NOT NULL CHECK (floor >= 0),
  watermark bigint  NOT NULL CHECK (watermark >= 0),
  attempt   uuid    NOT NULL,
  set_fence bigint  NOT NULL,
  set_gen   bigint  NOT NULL,
  behind    boolean NOT NULL,
  revoked   boolean NOT NULL,
  next      uuid    NOT NULL
) WITH (fillfactor = 80); -- records change in place
CREATE INDEX sessions_keep ON sealedblob.sessions (keep);

CREATE TABLE sealedblob.subjects (
  id   uuid   PRIMARY KEY,
  cut  bigint NOT NULL,
  keep bigint NOT NULL
);
CREATE INDEX subjects_keep ON sealedblob.subjects (keep);

-- The one row says since when the memory is whole, what it forgot, and where it
-- was made: a copy of it elsewhere does not know what was spent here since.
CREATE TABLE sealedblob.memory (
  one            boolean PRIMARY KEY DEFAULT true CHECK (one),
  epoch          bigint  NOT NULL,
  rights_horizon bigint  NOT NULL,
  horizon        bigint  NOT NULL, -- of sessions and subjects
  system         bigint  NOT NULL,
  timeline       integer NOT NULL,
  database       oid     NOT NULL,
  relation       oid     NOT NULL,
  started        bigint  NOT NULL, -- when the server was that wrote the next
  began          bigint  NOT NULL, -- the first transaction of that server
  written        xid     NOT NULL DEFAULT '0' -- the row's xmin: one that was copied in has another
);

-- Sign notes who wrote memory's row, after each write to it and in the same savepoint:
-- there xmin is the savepoint's number, which no function tells. Freezing and VACUUM
-- FULL keep xmin; a migration that rewrites the table signs again.
CREATE FUNCTION sealedblob.sign() RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  UPDATE sealedblob.memory SET written = xmin
$$;

-- Without a search_path of its own, so that it is inlined.
CREATE FUNCTION sealedblob.clock() RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT pg_catalog.floor(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()))::pg_catalog.int8
$$;

-- Latest is the last second of which something may be granted: replay.MaxAhead after
-- now, so that a memory that begins later than that does not grant it again. Inlined too.
CREATE FUNCTION sealedblob.latest() RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT sealedblob.clock() OPERATOR(pg_catalog.+) 5
$$;

-- Started is when this server was, in microseconds. Inlined too.
CREATE FUNCTION sealedblob.started() RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8
$$;

-- Began is the first transaction of this server: so says the checkpoint with which
-- it started. Later checkpoints say later ones, so that it is noted at once.
CREATE FUNCTION sealedblob.began() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT (split_part(next_xid, ':', 1)::bigint << 32) + split_part(next_xid, ':', 2)::bigint FROM pg_control_checkpoint()
$$;

-- Where this is: a dump that was restored has another table or database, a
-- file-level copy that was recovered to a point in time another timeline. Data that
-- were loaded into the same table are told by their xmin.
CREATE FUNCTION sealedblob.whereabouts(OUT system bigint, OUT timeline integer, OUT database oid, OUT relation oid)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer,
         d.oid, 'sealedblob.memory'::regclass::oid
  FROM pg_control_system() c, pg_database d WHERE d.datname = current_database()
$$;

-- Place is the same as one number, but for the timeline.
CREATE FUNCTION sealedblob.place() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT hashtextextended(concat_ws(' ', system, database, relation), 0) FROM sealedblob.whereabouts()
$$;

INSERT INTO sealedblob.memory (epoch, rights_horizon, horizon, started, began, system, timeline, database, relation)
SELECT sealedblob.latest() + 1, '-9223372036854775808', '-9223372036854775808', sealedblob.started(), sealedblob.began(), w.* FROM sealedblob.whereabouts() w;
SELECT sealedblob.sign();

-- Arrive is called on each new connection and tells the place: the first one after the
-- server was started notes where it began.
CREATE FUNCTION sealedblob.arrive() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_is_in_recovery() THEN
    RETURN 0;
  END IF;
  IF NOT EXISTS (SELECT FROM sealedblob.memory WHERE started <> sealedblob.started()) THEN
    RETURN sealedblob.place();
  END IF;
  UPDATE sealedblob.memory m SET started = sealedblob.started(), began = sealedblob.began()
  FROM (SELECT one FROM sealedblob.memory WHERE started <> sealedblob.started() AND written = xmin FOR UPDATE SKIP LOCKED) o
  WHERE m.one = o.one;
  IF FOUND THEN
    PERFORM sealedblob.sign();
  END IF;
  RETURN sealedblob.place();
END
$$;

-- Recall tells epoch, horizons and the latest date, or refuses to know anything. The witness is
-- {epoch, xid, started}: the newest transaction that its bearer knows to be
-- committed, and by which server. One that was started since has it only if it
-- began after it: on a copy that was put back others soon have later numbers, and after
-- a checkpoint it may seem to have begun later than it did. So there may follow rights
-- that the bearer was told are spent, each in two halves and with its end, which must be there.
-- Before them stands the place of the store, from one who asks in a transaction of his
-- own, or 0. His commit waits for the disk, as his store's own do.
-- Who reads records and finds none must ask for the horizon after that, in another
-- statement: a purge notes it in the transaction in which it deletes.
CREATE FUNCTION sealedblob.recall(p_witness bigint[],
  OUT epoch bigint, OUT rights_horizon bigint, OUT horizon bigint, OUT now bigint, OUT latest bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  here boolean;
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'a standby decides nothing' USING ERRCODE = 'SB001';
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'decisions need READ COMMITTED' USING ERRCODE = 'SB002';
  END IF;
  -- The same as whereabouts, in one query, and who wrote the row.
  SELECT m.epoch, m.rights_horizon, m.horizon, sealedblob.clock(), greatest(m.epoch, sealedblob.latest()),
    m.system = c.system_identifier AND m.database = d.oid AND m.relation = m.tableoid AND m.written = m.xmin
    AND m.timeline = ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
    AND (m.epoch > p_witness[1] OR m.epoch = p_witness[1]
      AND pg_snapshot_xmax(pg_current_snapshot())::text::bigint > p_witness[2]
      AND CASE sealedblob.started() WHEN p_witness[3] THEN true WHEN m.started THEN m.began > p_witness[2]
          ELSE sealedblob.began() > p_witness[2] END)
  INTO STRICT epoch, rights_horizon, horizon, now, latest, here
  FROM sealedblob.memory m, pg_control_system() c, pg_database d WHERE d.datname = current_database();
  IF here AND epoch = p_witness[1] AND sealedblob.started() <> p_witness[3] THEN
    here := NOT EXISTS (SELECT FROM generate_series(5, cardinality(p_witness) - 2, 3) i
      WHERE p_witness[i + 2] > greatest(now, rights_horizon) AND NOT EXISTS (SELECT FROM sealedblob.rights r
        WHERE r.id = (lpad(to_hex(p_witness[i]), 16, '0') || lpad(to_hex(p_witness[i + 1]), 16, '0'))::uuid));
  END IF;
  IF here IS NOT TRUE THEN
    RAISE EXCEPTION 'restored or put back: raise the epoch' USING ERRCODE = 'SB003';
  END IF;
  IF p_witness[4] <> 0 THEN
    IF p_witness[4] <> sealedblob.place() THEN
      RAISE EXCEPTION 'another database than the store''s' USING ERRCODE = 'SB006';
    END IF;
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
      PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
  END IF;
END
$$;

-- Mark is the witness for what this transaction wrote, if it commits.
CREATE FUNCTION sealedblob.mark(p_epoch bigint) RETURNS bigint[] LANGUAGE sql VOLATILE AS $$
  SELECT ARRAY[p_epoch, coalesce(pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text::pg_catalog.int8, 0), sealedblob.started()]
$$;

-- Settle is for who says yes to what was written before: its writer may have given up
-- waiting for the standbys, which then lack it. What writes nothing waits for
-- none; a transaction with a message does.
CREATE FUNCTION sealedblob.settle() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_logical_emit_message(true, 'sealedblob', '') WHERE current_setting('synchronous_standby_names') <> ''
$$;
