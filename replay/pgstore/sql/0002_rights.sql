-- Rights. Answers are 0 lost, 1 mine, 2 won, 3 before the epoch, 4 beyond the
-- horizon, 5 ask again alone, 8 dated ahead. Rights are inserted in the order of their ids, so
-- that nobody waits for one who waits for him.

-- Lengthen keeps rights that their owners hold until later.
CREATE FUNCTION sealedblob.lengthen(p_ids uuid[], p_owners uuid[], p_keeps bigint[]) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  UPDATE sealedblob.rights r SET keep = a.keep
  FROM (SELECT id, owner, max(keep) AS keep FROM unnest(p_ids, p_owners, p_keeps) u(id, owner, keep) GROUP BY id, owner) a
  WHERE r.id = a.id AND r.owner = a.owner AND r.keep < a.keep
$$;

-- Claim answers many callers, each with one right, in one statement. It waits for
-- nobody's own transaction: such a right is answered with 5, and so is one that
-- was purged meanwhile.
CREATE FUNCTION sealedblob.claim(p_witness bigint[], p_ids uuid[], p_owners uuid[], p_issued bigint[], p_keeps bigint[],
  OUT answers smallint[], OUT mark bigint[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  m record;
  soonest bigint;
  longer boolean;
BEGIN
  SELECT * INTO m FROM sealedblob.recall(p_witness);
  WITH asked AS MATERIALIZED (
    SELECT a.*, CASE
      WHEN a.issued < m.epoch THEN 3
      WHEN a.issued > m.latest THEN 8
      WHEN a.keep < m.now OR a.keep <= m.rights_horizon THEN 4
      WHEN NOT pg_try_advisory_xact_lock_shared(21314, uuid_hash(a.id)) THEN 5
      ELSE 0 END AS answer
    FROM unnest(p_ids, p_owners, p_issued, p_keeps) WITH ORDINALITY a(id, owner, issued, keep, n)
  ), fresh AS (
    INSERT INTO sealedblob.rights (id, owner, keep)
    SELECT DISTINCT ON (id) id, owner, keep FROM asked WHERE answer = 0 ORDER BY id, n
    ON CONFLICT (id) DO NOTHING
    RETURNING id, keep
  ), ranked AS (
    SELECT *, min(n) FILTER (WHERE answer = 0) OVER (PARTITION BY id) AS first FROM asked
  )
  SELECT array_agg(CASE WHEN f.id IS NOT NULL AND a.n = a.first THEN 2 ELSE a.answer END ORDER BY a.n), min(f.keep)
  INTO answers, soonest
  FROM ranked a LEFT JOIN fresh f USING (id);

  IF 0 = ANY (answers) THEN
    SELECT array_agg(CASE WHEN a.answer <> 0 THEN a.answer WHEN r.id IS NULL THEN 5 WHEN r.owner = a.owner THEN 1 ELSE 0 END ORDER BY a.n),
           bool_or(r.owner = a.owner AND r.keep < a.keep)
    INTO answers, longer
    FROM unnest(p_ids, p_owners, p_keeps, answers) WITH ORDINALITY a(id, owner, keep, answer, n)
    LEFT JOIN sealedblob.rights r ON r.id = a.id AND a.answer = 0;
    IF longer THEN
      PERFORM sealedblob.lengthen(array_agg(a.id), array_agg(a.owner), array_agg(a.keep))
      FROM unnest(p_ids, p_owners, p_keeps, answers) a(id, owner, keep, answer) WHERE a.answer = 1;
    END IF;
  END IF;
  PERFORM sealedblob.unpurged(soonest);
  IF 1 = ANY (answers) THEN
    PERFORM sealedblob.settle();
  END IF;
  mark := sealedblob.mark(m.epoch);
END
$$;

-- Unpurged refuses what was won where a purge deleted the winner's row meanwhile.
CREATE FUNCTION sealedblob.unpurged(p_soonest bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF p_soonest <= (SELECT rights_horizon FROM sealedblob.memory) THEN
    RAISE EXCEPTION 'purged meanwhile' USING ERRCODE = 'SB004';
  END IF;
END
$$;

-- Spend inserts all rights for one owner. Where it answers 0 it may have
-- inserted some.
CREATE FUNCTION sealedblob.spend(p_owner uuid, p_ids uuid[], p_keeps bigint[]) RETURNS smallint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  fresh bigint;
  soonest bigint;
  gone boolean;
  others boolean;
  longer boolean;
BEGIN
  WITH won AS (
    INSERT INTO sealedblob.rights (id, owner, keep)
    SELECT DISTINCT ON (a.id) a.id, p_owner, a.keep FROM unnest(p_ids, p_keeps) a(id, keep) ORDER BY a.id, a.keep DESC
    ON CONFLICT (id) DO NOTHING
    RETURNING keep
  )
  SELECT count(*), min(keep) INTO fresh, soonest FROM won;
  SELECT bool_or(r.id IS NULL), bool_or(r.owner <> p_owner), bool_or(r.keep < a.keep) INTO gone, others, longer
  FROM unnest(p_ids, p_keeps) a(id, keep) LEFT JOIN sealedblob.rights r ON r.id = a.id;
  IF others THEN
    RETURN 0;
  END IF;
  IF gone THEN
    RAISE EXCEPTION 'purged meanwhile' USING ERRCODE = 'SB004';
  END IF;
  IF longer THEN
    PERFORM sealedblob.lengthen(p_ids, array_fill(p_owner, ARRAY[cardinality(p_ids)]), p_keeps);
  END IF;
  PERFORM sealedblob.unpurged(soonest);
  IF fresh > 0 THEN
    RETURN 2;
  END IF;
  PERFORM sealedblob.settle();
  RETURN 1;
END
$$;

-- Claim_all spends rights for one owner, all or none, and waits at most p_wait
-- milliseconds for each that somebody else's transaction holds. With p_hold the
-- transaction is the caller's own and may last, and claims in company pass by.
CREATE FUNCTION sealedblob.claim_all(p_witness bigint[], p_wait integer, p_hold boolean,
  p_owner uuid, p_ids uuid[], p_issued bigint[], p_keeps bigint[],
  OUT answer smallint, OUT mark bigint[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
DECLARE
  m record;
  bad record;
BEGIN
  PERFORM set_config('lock_timeout', p_wait::text, true);
  SELECT * INTO m FROM sealedblob.recall(p_witness);
  mark := ARRAY[m.epoch, 0];
  SELECT a.n, CASE WHEN a.issued < m.epoch THEN 3 WHEN a.issued > m.latest THEN 8 ELSE 4 END AS answer INTO bad
  FROM unnest(p_issued, p_keeps) WITH ORDINALITY a(issued, keep, n)
  WHERE a.issued < m.epoch OR a.issued > m.latest OR a.keep < m.now OR a.keep <= m.rights_horizon ORDER BY a.n LIMIT 1;
  IF FOUND THEN -- unless one before it is lost
    answer := bad.answer;
    IF EXISTS (SELECT FROM sealedblob.rights r WHERE r.id = ANY (p_ids[:bad.n - 1]) AND r.owner <> p_owner) THEN
      answer := 0;
    END IF;
    RETURN;
  END IF;
  IF p_hold THEN
    PERFORM pg_advisory_xact_lock(21314, a.hash) FROM (SELECT DISTINCT uuid_hash(id) AS hash FROM unnest(p_ids) id ORDER BY 1) a;
  END IF;
  IF cardinality(p_ids) = 1 THEN
    answer := sealedblob.spend(p_owner, p_ids, p_keeps);
  ELSE
    BEGIN
      answer := sealedblob.spend(p_owner, p_ids, p_keeps);
      IF answer = 0 THEN
        RAISE EXCEPTION 'lost' USING ERRCODE = 'SB005';
      END IF;
    EXCEPTION WHEN SQLSTATE 'SB005' THEN
      answer := 0; -- and what was inserted is not
    END;
  END IF;
  mark := sealedblob.mark(m.epoch);
END
$$;

CREATE FUNCTION sealedblob.spent(p_witness bigint[], p_ids uuid[], OUT spent boolean[], OUT mark bigint[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  SELECT ARRAY[epoch, 0] INTO mark FROM sealedblob.recall(p_witness);
  SELECT coalesce(array_agg(r.id IS NOT NULL ORDER BY a.n), '{}') INTO spent
  FROM unnest(p_ids) WITH ORDINALITY a(id, n) LEFT JOIN sealedblob.rights r USING (id);
END
$$;
