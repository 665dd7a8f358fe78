-- What an operator does, and who may do what.

-- Purge forgets at most p_most records of each kind that are past, and notes in
-- the same transaction how far it got. It says how many there were. It
-- makes no memory its own that was copied in.
CREATE FUNCTION sealedblob.purge(p_wait integer, p_most integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
DECLARE
  past bigint;
  r record;
  s record;
  u record;
BEGIN
  PERFORM set_config('lock_timeout', p_wait::text, true);
  -- One at a time. Any login may take an advisory lock, and nobody but the owner this one,
  -- which no reader, writer or VACUUM of records waits for.
  LOCK TABLE sealedblob.migrations IN SHARE UPDATE EXCLUSIVE MODE;
  past := sealedblob.clock();
  WITH due AS (SELECT id FROM sealedblob.rights WHERE keep < past ORDER BY keep LIMIT p_most FOR UPDATE SKIP LOCKED),
       gone AS (DELETE FROM sealedblob.rights t USING due WHERE t.id = due.id RETURNING t.keep)
  SELECT count(*) AS n, max(keep) AS keep INTO r FROM gone;
  WITH due AS (SELECT id FROM sealedblob.sessions WHERE keep < past ORDER BY keep LIMIT p_most FOR UPDATE SKIP LOCKED),
       gone AS (DELETE FROM sealedblob.sessions t USING due WHERE t.id = due.id RETURNING t.keep)
  SELECT count(*) AS n, max(keep) AS keep INTO s FROM gone;
  WITH due AS (SELECT id FROM sealedblob.subjects WHERE keep < past ORDER BY keep LIMIT p_most FOR UPDATE SKIP LOCKED),
       gone AS (DELETE FROM sealedblob.subjects t USING due WHERE t.id = due.id RETURNING t.keep)
  SELECT count(*) AS n, max(keep) AS keep INTO u FROM gone;
  IF r.n + s.n + u.n > 0 THEN
    UPDATE sealedblob.memory SET rights_horizon = greatest(rights_horizon, r.keep), horizon = greatest(horizon, s.keep, u.keep)
    WHERE written = xmin;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'restored or put back: raise the epoch' USING ERRCODE = 'SB003';
    END IF;
    PERFORM sealedblob.sign();
  END IF;
  RETURN r.n + s.n + u.n;
END
$$;

CREATE FUNCTION sealedblob.status(OUT rights bigint, OUT sessions bigint, OUT subjects bigint,
  OUT epoch bigint, OUT horizon bigint, OUT bytes bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT (SELECT count(*) FROM sealedblob.rights), (SELECT count(*) FROM sealedblob.sessions), (SELECT count(*) FROM sealedblob.subjects),
    m.epoch, greatest(m.horizon, m.rights_horizon),
    pg_total_relation_size('sealedblob.rights') + pg_total_relation_size('sealedblob.sessions') + pg_total_relation_size('sealedblob.subjects')
  FROM sealedblob.memory m
$$;

-- Raise_epoch begins a new memory here: everything issued before is refused.
CREATE FUNCTION sealedblob.raise_epoch() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  UPDATE sealedblob.memory m SET epoch = greatest(m.epoch, sealedblob.latest()) + 1,
    (system, timeline, database, relation) = (SELECT w.* FROM sealedblob.whereabouts() w);
  SELECT sealedblob.sign();
  SELECT epoch FROM sealedblob.memory
$$;

-- Accept_failover goes on with the same memory on a new primary. It is for whoever
-- knows that the old one answered nobody before the new one had it: synchronous
-- replication. It takes nothing but another timeline of the same cluster.
CREATE FUNCTION sealedblob.accept_failover() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  accepted integer;
BEGIN
  -- Its last checkpoint may be older than its first transaction.
  UPDATE sealedblob.memory m SET timeline = w.timeline, started = sealedblob.started(),
    began = pg_snapshot_xmax(pg_current_snapshot())::text::bigint FROM sealedblob.whereabouts() w
  WHERE (m.system, m.database, m.relation) = (w.system, w.database, w.relation) AND m.written = m.xmin
  RETURNING m.timeline INTO accepted;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'restored or put back: raise the epoch' USING ERRCODE = 'SB003';
  END IF;
  PERFORM sealedblob.sign();
  RETURN accepted;
END
$$;

-- Admit lets a web node's role do what web nodes do: call the functions that decide. It
-- may read, insert, change and delete no record by itself: whoever reads the owners of
-- rights can repeat what others did.
CREATE FUNCTION sealedblob.admit(p_role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA sealedblob TO %I', p_role);
  EXECUTE format('GRANT SELECT ON sealedblob.migrations TO %I', p_role);
  EXECUTE format('GRANT EXECUTE ON FUNCTION sealedblob.arrive, sealedblob.recall, sealedblob.claim, sealedblob.claim_all, '
    'sealedblob.spent, sealedblob.restore, sealedblob.protect, sealedblob.take, sealedblob.acknowledge, sealedblob.renew, '
    'sealedblob.revoke, sealedblob.revoke_subject, sealedblob.subject_cut, sealedblob.purge, sealedblob.status TO %I', p_role);
END
$$;
