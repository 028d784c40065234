-- Payloads: what entries commit to, outside the tree, and what decides when it goes.
--
-- Here alone something is ever removed: salt and content of a payload, never its row. The triggers
-- let nobody do it, the owner included, but on a decision of two persons that is itself on its way
-- to the log (outbox_entry), and while no hold stands. Whoever drops the triggers is the owner of
-- the database; what that person cannot do is make it unseen: the entries say what was decided.

CREATE TABLE records_hold (
    id uuid PRIMARY KEY,
    plan_id text,
    run_id text,
    producer text,
    type text,
    since_us bigint,
    until_us bigint,
    commitments bytea[],
    reason text NOT NULL,
    reference text NOT NULL,
    set_by text NOT NULL,
    set_us bigint NOT NULL,
    event_id uuid NOT NULL,
    CHECK (num_nonnulls(plan_id, run_id, producer, type, since_us, until_us, commitments) > 0)
);
COMMENT ON TABLE records_hold IS
    'Legal holds; what is null in the scope is not looked at. Written by the desk when a records officer sets one.';

CREATE TABLE records_proposal (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('disposal', 'erasure', 'lift')),
    hold uuid,
    commitments bytea[] NOT NULL,
    reason text NOT NULL,
    reference text NOT NULL,
    proposed_by text NOT NULL,
    proposed_us bigint NOT NULL,
    event_id uuid NOT NULL,
    CHECK ((kind = 'lift') = (hold IS NOT NULL)),
    CHECK (kind <> 'lift' OR cardinality(commitments) = 0),
    CHECK (kind <> 'erasure' OR cardinality(commitments) = 1),
    CHECK (cardinality(commitments) <= 500)
);
COMMENT ON TABLE records_proposal IS
    'What one records officer proposes, frozen. Written by the desk; stands until a decision names it.';

CREATE TABLE records_decision (
    proposal uuid PRIMARY KEY,
    verdict text NOT NULL CHECK (verdict IN ('confirmed', 'withdrawn')),
    decided_by text NOT NULL,
    decided_us bigint NOT NULL,
    event_id uuid NOT NULL
);
COMMENT ON TABLE records_decision IS
    'How a proposal ended: confirmed by a second person, or withdrawn. Written by the desk with the outbox entry that says so.';

CREATE TABLE audit_payload (
    commitment bytea PRIMARY KEY CHECK (length(commitment) = 32),
    event_id uuid NOT NULL,
    producer text NOT NULL,
    type text NOT NULL,
    plan_id text,
    run_id text,
    time_us bigint NOT NULL,
    retention text NOT NULL,
    media_type text NOT NULL,
    received_us bigint NOT NULL,
    salt bytea CHECK (length(salt) = 32),
    content bytea CHECK (length(content) <= 65536),
    removed_by uuid,
    CHECK ((salt IS NULL) = (content IS NULL)),
    CHECK ((salt IS NULL) = (removed_by IS NOT NULL)),
    CHECK (commitment = sha256('\x02'::bytea || salt || content))
);
COMMENT ON TABLE audit_payload IS
    'What entries commit to, and its salt. Written when the entry''s producer hands it in; salt and content are removed on a decision of two persons, and removed_by names the proposal.';

-- The planner's statistics are a copy of sample values that outlives them: none of these is sampled.
ALTER TABLE audit_payload
    ALTER COLUMN salt SET STATISTICS 0,
    ALTER COLUMN content SET STATISTICS 0;

CREATE INDEX audit_payload_event ON audit_payload (event_id);
CREATE INDEX audit_payload_received ON audit_payload (received_us);
CREATE INDEX audit_payload_kept ON audit_payload (retention, greatest(time_us, received_us))
WHERE removed_by IS NULL;

CREATE VIEW records_standing_hold AS
SELECT h.*
FROM records_hold h
WHERE NOT EXISTS (
    SELECT FROM records_proposal p
    JOIN records_decision d ON d.proposal = p.id
    WHERE p.hold = h.id AND d.verdict = 'confirmed'
);
COMMENT ON VIEW records_standing_hold IS 'The holds that no two persons have lifted.';

CREATE FUNCTION records_hold_on(kept audit_payload) RETURNS uuid
LANGUAGE sql STABLE AS $$
    SELECT id
    FROM records_standing_hold h
    WHERE (h.plan_id IS NULL OR h.plan_id = kept.plan_id)
        AND (h.run_id IS NULL OR h.run_id = kept.run_id)
        AND (h.producer IS NULL OR h.producer = kept.producer)
        AND (h.type IS NULL OR h.type = kept.type)
        AND (h.since_us IS NULL OR h.since_us <= kept.time_us)
        AND (h.until_us IS NULL OR h.until_us >= kept.time_us)
        AND (h.commitments IS NULL OR kept.commitment = ANY (h.commitments))
    ORDER BY set_us, id
    LIMIT 1
$$;

CREATE FUNCTION records_check_decision() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    proposed_by text;
BEGIN
    SELECT p.proposed_by INTO proposed_by FROM records_proposal p WHERE p.id = NEW.proposal;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a decision on nothing is refused: no proposal %', NEW.proposal
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.verdict = 'confirmed' AND NEW.decided_by = proposed_by THEN
        RAISE EXCEPTION 'a confirmation is refused: it takes a second person'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT EXISTS (SELECT FROM outbox_entry o WHERE o.event_id = NEW.event_id) THEN
        RAISE EXCEPTION 'a decision is refused: no entry of the outbox says it'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION audit_check_payload() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    spelled bytea := convert_to('"sha256:' || encode(NEW.commitment, 'hex') || '"', 'UTF8');
BEGIN
    IF NEW.salt IS NULL
        OR coalesce(position(spelled IN audit_content(audit_index(NEW.event_id))), 0) = 0
    THEN
        RAISE EXCEPTION 'a payload is refused: no entry of the log commits to it'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION audit_guard_payload() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    emptied audit_payload := OLD;
BEGIN
    emptied.salt := NULL;
    emptied.content := NULL;
    emptied.removed_by := NEW.removed_by;
    IF OLD.removed_by IS NOT NULL OR NEW IS DISTINCT FROM emptied THEN
        RAISE EXCEPTION 'a change of a payload is refused: it is kept whole or emptied, once'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT EXISTS (
        SELECT FROM records_proposal p
        JOIN records_decision d ON d.proposal = p.id
        WHERE p.id = NEW.removed_by AND d.verdict = 'confirmed'
            AND p.kind IN ('disposal', 'erasure') AND OLD.commitment = ANY (p.commitments)
    ) THEN
        RAISE EXCEPTION 'emptying a payload is refused: no recorded decision of two persons names it'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF records_hold_on(OLD) IS NOT NULL THEN
        RAISE EXCEPTION 'emptying a payload is refused: hold % stands', records_hold_on(OLD)
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION audit_empty_payloads(decided uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    emptied bigint;
BEGIN
    UPDATE audit_payload
    SET salt = NULL, content = NULL, removed_by = decided
    WHERE removed_by IS NULL AND commitment IN (
        SELECT unnest(p.commitments) FROM records_proposal p WHERE p.id = decided
    );
    GET DIAGNOSTICS emptied = ROW_COUNT;
    RETURN emptied;
END
$$;
COMMENT ON FUNCTION audit_empty_payloads IS
    'The one door by which a role without the right to UPDATE removes what a confirmed proposal names.';
REVOKE EXECUTE ON FUNCTION audit_empty_payloads FROM PUBLIC;

CREATE FUNCTION audit_sweep_payloads() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '3s' AS $$
BEGIN
    CLUSTER audit_payload USING audit_payload_pkey;
END
$$;
COMMENT ON FUNCTION audit_sweep_payloads IS
    'Writes the table''s files anew, without rows that were replaced: a VACUUM leaves their bytes where they were.';
REVOKE EXECUTE ON FUNCTION audit_sweep_payloads FROM PUBLIC;

CREATE TRIGGER check_decision BEFORE INSERT ON records_decision
FOR EACH ROW EXECUTE FUNCTION records_check_decision();
CREATE TRIGGER check_payload BEFORE INSERT ON audit_payload
FOR EACH ROW EXECUTE FUNCTION audit_check_payload();
CREATE TRIGGER guard_payload BEFORE UPDATE ON audit_payload
FOR EACH ROW EXECUTE FUNCTION audit_guard_payload();
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON audit_payload
FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_payload FROM PUBLIC, CURRENT_USER;
GRANT UPDATE (salt, content, removed_by) ON audit_payload TO CURRENT_USER;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['records_hold', 'records_proposal', 'records_decision'] LOOP
        EXECUTE format(
            'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
             FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change()', name);
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM PUBLIC, CURRENT_USER', name);
    END LOOP;
    -- A caller's temporary tables must not pass for these inside the functions.
    FOREACH name IN ARRAY ARRAY[
        'records_check_decision()', 'audit_check_payload()', 'audit_guard_payload()',
        'audit_empty_payloads(uuid)', 'audit_sweep_payloads()', 'records_hold_on(audit_payload)'
    ] LOOP
        EXECUTE format(
            'ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
    END LOOP;
END
$$;
