-- Sessions and subjects. Verdicts are 0 refused, 1 superseded, 2 rolled back,
-- 3 revoked, 4 spent, 5 granted; beside 0, refused says why: 3 before the epoch,
-- 4 beyond the horizon, 6 a cut beyond what is kept, 7 no owner, 8 dated ahead. The table of docs/SPEC.md, section 8, is here and nowhere
-- else: nobody but the owner writes to the tables.
--
-- Whoever moves the fence or revokes holds the session's advisory lock alone, and
-- who takes a right under the fence shares it, since a session without a record
-- has no row to lock. Rows are locked before rights, and in the order of their ids.

CREATE FUNCTION sealedblob.blank(p_id uuid) RETURNS sealedblob.sessions
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT p_id, 0::bigint, 0::bigint, 0::bigint, 0::bigint, '00000000-0000-0000-0000-000000000000'::uuid,
         0::bigint, 0::bigint, false, false, '00000000-0000-0000-0000-000000000000'::uuid
$$;

-- Enter reads a session and its login, locked against other writers if p_lock, and
-- judges who holds it under p_fence. A login that is void is a revoked session.
CREATE FUNCTION sealedblob.enter(p_witness bigint[], p_lock boolean, p_id uuid, p_fence bigint, p_keep bigint, p_subject uuid, p_since bigint,
  OUT s sealedblob.sessions, OUT known boolean, OUT verdict smallint, OUT refused smallint, OUT epoch bigint, OUT latest bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  m record;
  cut bigint;
BEGIN
  IF p_lock THEN
    SELECT * INTO s FROM sealedblob.sessions t WHERE t.id = p_id FOR NO KEY UPDATE;
  ELSE
    SELECT * INTO s FROM sealedblob.sessions t WHERE t.id = p_id;
  END IF;
  known := FOUND;
  IF NOT known THEN
    s := sealedblob.blank(p_id);
  END IF;
  SELECT t.cut INTO cut FROM sealedblob.subjects t WHERE t.id = p_subject;
  SELECT * INTO m FROM sealedblob.recall(p_witness); -- after the records
  epoch := m.epoch;
  latest := m.latest;
  refused := CASE
    WHEN p_keep < m.now OR p_keep <= m.horizon THEN 4
    WHEN p_subject IS NOT NULL AND p_since < m.epoch THEN 3
    ELSE 0 END;
  IF p_since <= cut THEN
    s := sealedblob.blank(p_id);
    s.revoked := true;
  END IF;
  verdict := CASE WHEN refused > 0 THEN 0 WHEN s.revoked THEN 3 WHEN s.fence = p_fence THEN 5 ELSE 1 END;
END
$$;

-- Put writes the next state of a session, if it differs. It is false if somebody
-- else made the record meanwhile: then decide again.
CREATE FUNCTION sealedblob.put(p_known boolean, p_was sealedblob.sessions, p_next sealedblob.sessions, p_keep bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n sealedblob.sessions := p_next;
BEGIN
  n.keep := p_was.keep;
  IF NOT p_known AND n = p_was THEN
    RETURN true; -- nothing to note
  END IF;
  n.keep := greatest(p_was.keep, p_keep);
  IF NOT p_known THEN
    n.keep := p_keep;
    INSERT INTO sealedblob.sessions SELECT n.* ON CONFLICT (id) DO NOTHING;
    RETURN FOUND;
  END IF;
  IF n <> p_was THEN
    UPDATE sealedblob.sessions SET keep = n.keep, fence = n.fence, floor = n.floor, watermark = n.watermark, attempt = n.attempt,
      set_fence = n.set_fence, set_gen = n.set_gen, behind = n.behind, revoked = n.revoked, next = n.next WHERE id = n.id;
  END IF;
  RETURN true;
END
$$;

CREATE FUNCTION sealedblob.protect(p_witness bigint[], p_wait integer,
  p_id uuid, p_fence bigint, p_gen bigint, p_keep bigint, p_subject uuid, p_since bigint,
  OUT verdict smallint, OUT refused smallint, OUT mark bigint[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
DECLARE
  e record;
  n sealedblob.sessions;
BEGIN
  PERFORM set_config('lock_timeout', p_wait::text, true);
  LOOP
    SELECT * INTO e FROM sealedblob.enter(p_witness, true, p_id, p_fence, p_keep, p_subject, p_since);
    EXIT WHEN e.verdict <> 5;
    n := e.s;
    n.watermark := greatest(n.watermark, p_gen);
    EXIT WHEN sealedblob.put(e.known, e.s, n, p_keep);
  END LOOP;
  verdict := e.verdict;
  refused := e.refused;
  mark := sealedblob.mark(e.epoch);
END
$$;

CREATE FUNCTION sealedblob.renew(p_witness bigint[], p_wait integer,
  p_id uuid, p_fence bigint, p_keep bigint, p_subject uuid, p_since bigint, p_next uuid,
  OUT verdict smallint, OUT refused smallint, OUT mark bigint[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
DECLARE
  e record;
  n sealedblob.sessions;
BEGIN
  PERFORM set_config('lock_timeout', p_wait::text, true);
  PERFORM pg_advisory_xact_lock(uuid_hash_extended(p_id, 21314));
  n := sealedblob.blank(p_id);
  n.fence := p_fence;
  n.revoked := true;
  n.next := p_next;
  LOOP
    SELECT * INTO e FROM sealedblob.enter(p_witness, true, p_id, p_fence, p_keep, p_subject, p_since);
    verdict := e.verdict;
    IF verdict = 3 AND (e.s).next = p_next AND (e.s).fence = p_fence AND p_next <> '00000000-0000-0000-0000-000000000000' THEN
      verdict := 5; -- so it was said before
    END IF;
    EXIT WHEN verdict <> 5;
    EXIT WHEN sealedblob.put(e.known, e.s, n, p_keep);
  END LOOP;
  refused := e.refused;
  mark := sealedblob.mark(e.epoch);
END
$$;

CREATE FUNCTION sealedblob.revoke(p_witness bigint[], p_wait integer, p_id uuid, p_keep bigint,
  OUT refused smallint, OUT mark bigint[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
DECLARE
  e record;
  n sealedblob.sessions;
BEGIN
  PERFORM set_config('lock_timeout', p_wait::text, true);
  PERFORM pg_advisory_xact_lock(uuid_hash_extended(p_id, 21314));
  LOOP
    SELECT * INTO e FROM sealedblob.enter(p_witness, true, p_id, NULL, p_keep, NULL, NULL);
    refused := e.refused;
    EXIT WHEN refused > 0;
    n := e.s;
    n.revoked := true;
    EXIT WHEN sealedblob.put(e.known, e.s, n, p_keep);
  END LOOP;
  mark := sealedblob.mark(e.epoch);
END
$$;

CREATE FUNCTION sealedblob.take(p_witness bigint[], p_wait integer, p_hold boolean,
  p_id uuid, p_fence bigint, p_keep bigint, p_subject uuid, p_since bigint,
  p_owner uuid, p_right uuid, p_issued bigint, p_right_keep bigint,
  OUT verdict smallint, OUT answer smallint, OUT refused smallint, OUT mark bigint[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
DECLARE
  e record;
  c record;
BEGIN
  PERFORM set_config('lock_timeout', p_wait::text, true);
  PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(p_id, 21314));
  SELECT * INTO e FROM sealedblob.enter(p_witness, false, p_id, p_fence, p_keep, p_subject, p_since);
  mark := ARRAY[e.epoch, 0];
  answer := 0;
  refused := e.refused;
  verdict := e.verdict;
  IF verdict <> 5 THEN
    RETURN;
  END IF;
  IF p_owner = '00000000-0000-0000-0000-000000000000' THEN
    verdict := 0;
    refused := 7;
    RETURN;
  END IF;
  SELECT * INTO c FROM sealedblob.claim_all(p_witness, p_wait, p_hold, p_owner, ARRAY[p_right], ARRAY[p_issued], ARRAY[p_right_keep]);
  mark := c.mark;
  IF c.answer > 2 THEN
    verdict := 0;
    refused := c.answer;
  ELSE
    answer := c.answer;
  END IF;
END
$$;

-- Burn spends the rights of a restore for its attempt, in the order of their ids,
-- and judges them in the order in which they are listed.
CREATE FUNCTION sealedblob.burn(p_witness bigint[], p_owner uuid,
  p_ids uuid[], p_issued bigint[], p_keeps bigint[], p_required boolean[],
  OUT verdict smallint, OUT refused smallint, OUT burnt smallint[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  m record;
  b record;
  fresh uuid[];
  soonest bigint;
BEGIN
  SELECT * INTO m FROM sealedblob.recall(p_witness);
  WITH won AS (
    INSERT INTO sealedblob.rights (id, owner, keep)
    SELECT DISTINCT ON (a.id) a.id, p_owner, a.keep FROM unnest(p_ids, p_issued, p_keeps) a(id, issued, keep)
    WHERE a.issued >= m.epoch AND a.keep >= m.now AND a.keep > m.rights_horizon ORDER BY a.id, a.keep DESC
    ON CONFLICT (id) DO NOTHING
    RETURNING id, keep
  )
  SELECT coalesce(array_agg(id), '{}'), min(keep) INTO fresh, soonest FROM won;
  verdict := 5;
  refused := 0;
  burnt := '{}';
  FOR b IN
    SELECT a.id, a.keep, a.required, r.owner, r.keep AS kept,
      CASE WHEN a.issued < m.epoch THEN 3 WHEN a.issued > m.latest THEN 8
        WHEN a.keep < m.now OR a.keep <= m.rights_horizon THEN 4 ELSE 0 END AS why
    FROM unnest(p_ids, p_issued, p_keeps, p_required) WITH ORDINALITY a(id, issued, keep, required, n)
    LEFT JOIN sealedblob.rights r ON r.id = a.id ORDER BY a.n
  LOOP
    IF b.why > 0 AND (b.required OR b.why = 8) THEN
      verdict := 0;
      refused := b.why;
      RETURN;
    ELSIF b.why > 0 THEN
      burnt := burnt || 0::smallint;
    ELSIF b.owner IS NULL THEN
      RAISE EXCEPTION 'purged meanwhile' USING ERRCODE = 'SB004';
    ELSIF b.owner <> p_owner AND b.required THEN
      verdict := 4;
      RETURN;
    ELSIF b.owner <> p_owner THEN
      burnt := burnt || 0::smallint;
    ELSE
      burnt := burnt || CASE WHEN b.id = ANY (fresh) THEN 2 ELSE 1 END::smallint;
      fresh := array_remove(fresh, b.id); -- listed twice: the second is ours already
      IF b.kept < b.keep THEN
        PERFORM sealedblob.lengthen(ARRAY[b.id], ARRAY[p_owner], ARRAY[b.keep]);
      END IF;
    END IF;
  END LOOP;
  PERFORM sealedblob.unpurged(soonest);
END
$$;

CREATE FUNCTION sealedblob.restore(p_witness bigint[], p_wait integer,
  p_id uuid, p_issued bigint, p_keep bigint, p_subject uuid, p_since bigint,
  p_fence bigint, p_gen bigint, p_attempt uuid, p_strict boolean,
  p_burn uuid[], p_burn_issued bigint[], p_burn_keep bigint[], p_required boolean[], p_look uuid[],
  OUT verdict smallint, OUT refused smallint, OUT fence bigint, OUT behind boolean,
  OUT burnt smallint[], OUT looked boolean[], OUT mark bigint[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
DECLARE
  e record;
  s sealedblob.sessions;
  n sealedblob.sessions;
  again boolean;
BEGIN
  PERFORM set_config('lock_timeout', p_wait::text, true);
  PERFORM pg_advisory_xact_lock(uuid_hash_extended(p_id, 21314));
  LOOP
    SELECT * INTO e FROM sealedblob.enter(p_witness, true, p_id, p_fence, p_keep, p_subject, p_since);
    mark := ARRAY[e.epoch, 0];
    refused := CASE WHEN p_issued < e.epoch THEN 3 WHEN p_issued > e.latest THEN 8 ELSE e.refused END;
    verdict := 0;
    EXIT WHEN refused > 0;
    s := e.s;
    again := s.attempt = p_attempt AND s.set_fence = p_fence AND s.set_gen = p_gen AND p_fence < s.fence
             AND s.floor = 0 AND s.watermark = 0;
    behind := CASE WHEN again THEN s.behind ELSE p_gen < s.watermark END;
    verdict := CASE
      WHEN s.revoked THEN 3
      WHEN NOT again AND (p_fence <> s.fence OR p_gen < s.floor) THEN 1
      WHEN behind AND p_strict THEN 2
      ELSE 5 END;
    EXIT WHEN verdict <> 5;
    n := sealedblob.blank(p_id);
    n.fence := s.fence + 1;
    n.attempt := p_attempt;
    n.set_fence := p_fence;
    n.set_gen := p_gen;
    n.behind := behind;
    fence := n.fence;
    BEGIN
      CONTINUE WHEN NOT sealedblob.put(e.known, s, n, p_keep);
      IF cardinality(p_look) > 0 THEN -- before anything is burnt
        SELECT array_agg(r.id IS NOT NULL ORDER BY a.n) INTO looked
        FROM unnest(p_look) WITH ORDINALITY a(id, n) LEFT JOIN sealedblob.rights r USING (id);
      END IF;
      IF cardinality(p_burn) > 0 THEN
        SELECT b.verdict, b.refused, b.burnt INTO verdict, refused, burnt
        FROM sealedblob.burn(p_witness, p_attempt, p_burn, p_burn_issued, p_burn_keep, p_required) b;
        IF verdict <> 5 THEN
          RAISE EXCEPTION 'not granted' USING ERRCODE = 'SB005';
        END IF;
      END IF;
      mark := sealedblob.mark(e.epoch);
      EXIT;
    EXCEPTION WHEN SQLSTATE 'SB005' THEN
      EXIT; -- nothing of it is written
    END;
  END LOOP;
END
$$;

-- Acknowledge answers many sessions. Those whose floor it raises are locked in the
-- order of their ids; it waits for no right and for no take.
CREATE FUNCTION sealedblob.acknowledge(p_witness bigint[], p_wait integer,
  p_ids uuid[], p_fences bigint[], p_gens bigint[], p_keeps bigint[], p_subjects uuid[], p_sinces bigint[],
  OUT verdicts smallint[], OUT mark bigint[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
DECLARE
  m record;
  raises boolean;
  absent bigint;
  ahead bigint;
  made bigint;
BEGIN
  PERFORM set_config('lock_timeout', p_wait::text, true);
  LOOP
    PERFORM FROM sealedblob.sessions s WHERE s.id = ANY (
      SELECT a.id FROM unnest(p_ids, p_fences, p_gens) a(id, fence, gen) JOIN sealedblob.sessions t USING (id)
      WHERE t.fence = a.fence AND t.floor < a.gen AND NOT t.revoked)
    ORDER BY s.id FOR NO KEY UPDATE;
    SELECT * INTO m FROM sealedblob.recall(p_witness);
    WITH judged AS (
      SELECT a.*, s.floor, CASE
        WHEN a.keep < m.now OR a.keep <= m.horizon OR a.subject IS NOT NULL AND a.since < m.epoch THEN 0
        WHEN s.revoked OR a.since <= c.cut THEN 3
        WHEN coalesce(s.fence, 0) <> a.fence THEN 1
        ELSE 5 END::smallint AS verdict
      FROM unnest(p_ids, p_fences, p_gens, p_keeps, p_subjects, p_sinces) WITH ORDINALITY a(id, fence, gen, keep, subject, since, n)
      LEFT JOIN sealedblob.sessions s USING (id)
      LEFT JOIN sealedblob.subjects c ON c.id = a.subject
    )
    SELECT array_agg(verdict ORDER BY n), bool_or(verdict = 5 AND gen > coalesce(floor, 0)),
           count(DISTINCT id) FILTER (WHERE verdict = 5 AND gen > 0 AND floor IS NULL),
           count(DISTINCT id) FILTER (WHERE verdict = 5 AND gen > floor)
    INTO verdicts, raises, absent, ahead FROM judged;
    CONTINUE WHEN m.horizon <> (SELECT r.horizon FROM sealedblob.recall(p_witness) r); -- what was absent may have been purged
    EXIT WHEN raises IS NOT TRUE;
    UPDATE sealedblob.sessions s SET floor = x.gen, keep = greatest(s.keep, x.keep)
    FROM (SELECT id, fence, max(gen) AS gen, max(keep) AS keep
          FROM unnest(p_ids, p_fences, p_gens, p_keeps, verdicts) a(id, fence, gen, keep, verdict) WHERE verdict = 5 GROUP BY id, fence) x
    WHERE s.id = x.id AND s.fence = x.fence AND s.floor < x.gen AND NOT s.revoked;
    GET DIAGNOSTICS made = ROW_COUNT;
    CONTINUE WHEN made < ahead; -- one that was not locked at first moved meanwhile
    EXIT WHEN absent = 0;
    INSERT INTO sealedblob.sessions
    SELECT b.id, x.keep, b.fence, x.gen, b.watermark, b.attempt, b.set_fence, b.set_gen, b.behind, b.revoked, b.next
    FROM (SELECT id, max(gen) AS gen, max(keep) AS keep
          FROM unnest(p_ids, p_gens, p_keeps, verdicts) a(id, gen, keep, verdict) WHERE verdict = 5 AND gen > 0 GROUP BY id) x,
         sealedblob.blank(x.id) b
    WHERE NOT EXISTS (SELECT FROM sealedblob.sessions s WHERE s.id = x.id) ORDER BY b.id
    ON CONFLICT (id) DO NOTHING;
    GET DIAGNOSTICS made = ROW_COUNT;
    EXIT WHEN made = absent; -- else somebody made one meanwhile
  END LOOP;
  IF 5 = ANY (verdicts) THEN
    PERFORM sealedblob.settle();
  END IF;
  mark := sealedblob.mark(m.epoch);
END
$$;

-- Revoke_subject: p_far says that the cut is later than what is kept. No caller's cut
-- is years ahead; one that a taken login dates there could not be raised any more.
CREATE FUNCTION sealedblob.revoke_subject(p_witness bigint[], p_wait integer, p_id uuid, p_cut bigint, p_keep bigint, p_far boolean,
  OUT refused smallint, OUT mark bigint[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = 0 AS $$
DECLARE
  m record;
BEGIN
  PERFORM set_config('lock_timeout', p_wait::text, true);
  SELECT * INTO m FROM sealedblob.recall(p_witness);
  refused := CASE WHEN p_keep < m.now OR p_keep <= m.horizon THEN 4 WHEN p_far OR p_cut > m.now + 315360000 THEN 6 ELSE 0 END;
  IF refused = 0 THEN
    INSERT INTO sealedblob.subjects AS s (id, cut, keep) VALUES (p_id, greatest(p_cut, m.epoch), p_keep)
    ON CONFLICT (id) DO UPDATE SET cut = greatest(excluded.cut, s.cut + 1), keep = greatest(excluded.keep, s.keep);
  END IF;
  mark := sealedblob.mark(m.epoch);
END
$$;

CREATE FUNCTION sealedblob.subject_cut(p_witness bigint[], p_id uuid, OUT cut bigint, OUT mark bigint[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  SELECT ARRAY[r.epoch, 0] INTO mark FROM sealedblob.recall(p_witness) r;
  SELECT s.cut INTO cut FROM sealedblob.subjects s WHERE s.id = p_id;
END
$$;
