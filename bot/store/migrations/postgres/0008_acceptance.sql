-- Acceptance of many requests by one statement (bot/store/acceptance.py). The totals of the scope `host` have a row for
-- each of 8 shards (`subject`) and are the sum of these rows, so that acceptances need not wait for each other.

-- The rules, blocks and strikes that may apply to *members* in *servers* and *channels*, as JSON.
CREATE FUNCTION darkroom_rules(servers BIGINT[], members BIGINT[], channels BIGINT[], since BIGINT) RETURNS TEXT
LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'limits', (
            SELECT json_agg(found ORDER BY guild, holder, subject, unit, span)
            FROM (
                SELECT guild, holder, subject, unit, span, amount FROM limits
                WHERE guild = ANY (servers) AND (
                    holder IN ('cap', 'direct', 'guild', 'role')
                    OR (holder = 'user' AND subject = ANY (members))
                    OR (holder = 'channel' AND subject = ANY (channels)))
                UNION ALL
                SELECT guild, holder, subject, unit, span, amount FROM limits WHERE guild = 0 AND holder = 'host'
            ) found),
        'strikes', (
            SELECT json_agg(json_build_array(guild, user_id, expires_at) ORDER BY guild, user_id, expires_at, id)
            FROM strikes WHERE guild = ANY (servers) AND user_id = ANY (members) AND expires_at > since)
    )::text
$$;

-- What counts against limits in one bucket of the scope `host`.
CREATE FUNCTION darkroom_host_total(wanted TEXT, OUT jobs BIGINT, OUT images BIGINT, OUT micro_usd BIGINT)
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(held.jobs), 0)::bigint,
           coalesce(sum(reserved_images + spent_images - aside_images), 0)::bigint,
           coalesce(sum(reserved_micro_usd + spent_micro_usd - aside_micro_usd), 0)::bigint
    FROM totals held WHERE scope = 'host' AND guild = 0 AND bucket = wanted
$$;

-- Write requests with their jobs and reservations, or nothing: a serialization failure says that *rules* (see
-- `darkroom_rules`) has changed, that a total would exceed its *most_…* (NULL: no limit), or that an interaction is known.
CREATE FUNCTION darkroom_accept(
    servers BIGINT[], members BIGINT[], channels BIGINT[], since BIGINT, rules TEXT,
    new_interactions JSON, new_jobs JSON, new_events JSON, new_replies JSON, new_tokens JSON, new_ledger JSON,
    scopes TEXT[], guilds BIGINT[], buckets TEXT[], subjects BIGINT[],
    added_jobs BIGINT[], added_images BIGINT[], added_micro_usd BIGINT[],
    most_jobs BIGINT[], most_images BIGINT[], most_micro_usd BIGINT[]
) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    shards CONSTANT INT := 8;
    -- The most that a transaction with the lock of one shard only adds. It sees the sum of all shards without what up to
    -- 7 others are adding.
    step_jobs CONSTANT BIGINT := 100;
    step_images CONSTANT BIGINT := 1000;
    step_micro_usd CONSTANT BIGINT := 100000000;
    unseen INT := shards - 1;
    shard INT := pg_backend_pid() % shards;
    written INT;
    exceeded INT;
BEGIN
    INSERT INTO interactions SELECT * FROM json_populate_recordset(NULL::interactions, new_interactions)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written < json_array_length(new_interactions) THEN
        RAISE EXCEPTION 'an interaction is known' USING ERRCODE = 'serialization_failure';
    END IF;
    INSERT INTO jobs SELECT * FROM json_populate_recordset(NULL::jobs, new_jobs);
    INSERT INTO job_events SELECT * FROM json_populate_recordset(NULL::job_events, new_events);
    INSERT INTO replies SELECT * FROM json_populate_recordset(NULL::replies, new_replies);
    INSERT INTO tokens SELECT * FROM json_populate_recordset(NULL::tokens, new_tokens);
    INSERT INTO ledger OVERRIDING USER VALUE SELECT * FROM json_populate_recordset(NULL::ledger, new_ledger);

    -- The totals are locked in the order of *scopes* and so on, as by every other transaction (bot/store/totals.py).
    WITH wanted AS (
        SELECT * FROM unnest(scopes, guilds, buckets, subjects, added_jobs, added_images, added_micro_usd,
                             most_jobs, most_images, most_micro_usd) WITH ORDINALITY
            AS each (scope, guild, bucket, subject, jobs, images, micro_usd, all_jobs, all_images, all_micro_usd, n)
        WHERE scope <> 'host'
    ),
    raised AS (
        INSERT INTO totals AS held
        SELECT scope, guild, bucket, subject, jobs, images, micro_usd, 0, 0, 0, 0 FROM wanted ORDER BY n
        ON CONFLICT (scope, guild, bucket, subject) DO UPDATE SET
            jobs = held.jobs + excluded.jobs,
            reserved_images = held.reserved_images + excluded.reserved_images,
            reserved_micro_usd = held.reserved_micro_usd + excluded.reserved_micro_usd
        RETURNING held.scope, held.guild, held.bucket, held.subject, held.jobs,
            reserved_images + spent_images - aside_images AS images,
            reserved_micro_usd + spent_micro_usd - aside_micro_usd AS micro_usd
    )
    SELECT count(*) INTO exceeded FROM raised JOIN wanted USING (scope, guild, bucket, subject)
    WHERE raised.jobs > all_jobs OR raised.images > all_images OR raised.micro_usd > all_micro_usd;
    IF exceeded > 0 THEN
        RAISE EXCEPTION 'a total is exceeded' USING ERRCODE = 'serialization_failure';
    END IF;

    IF EXISTS (
        SELECT FROM unnest(scopes, buckets, added_jobs, added_images, added_micro_usd,
                           most_jobs, most_images, most_micro_usd)
            AS each (scope, bucket, jobs, images, micro_usd, all_jobs, all_images, all_micro_usd)
        CROSS JOIN LATERAL darkroom_host_total(bucket) AS now
        WHERE scope = 'host' AND (
            each.jobs > step_jobs OR each.images > step_images OR each.micro_usd > step_micro_usd
            OR now.jobs + each.jobs + unseen * step_jobs > all_jobs
            OR now.images + each.images + unseen * step_images > all_images
            OR now.micro_usd + each.micro_usd + unseen * step_micro_usd > all_micro_usd)
    ) THEN  -- near a limit: with the locks of all shards the sum is exact
        INSERT INTO totals AS held
        SELECT 'host', 0, 'total', n, 0, 0, 0, 0, 0, 0, 0 FROM generate_series(0, shards - 1) AS n
        ON CONFLICT (scope, guild, bucket, subject) DO UPDATE SET jobs = held.jobs;
        unseen := 0;
    END IF;
    INSERT INTO totals AS held
    SELECT scope, 0, bucket, shard, jobs, images, micro_usd, 0, 0, 0, 0
    FROM unnest(scopes, buckets, added_jobs, added_images, added_micro_usd) WITH ORDINALITY
        AS each (scope, bucket, jobs, images, micro_usd, n)
    WHERE scope = 'host' ORDER BY n
    ON CONFLICT (scope, guild, bucket, subject) DO UPDATE SET
        jobs = held.jobs + excluded.jobs,
        reserved_images = held.reserved_images + excluded.reserved_images,
        reserved_micro_usd = held.reserved_micro_usd + excluded.reserved_micro_usd;
    IF EXISTS (
        SELECT FROM unnest(scopes, buckets, most_jobs, most_images, most_micro_usd)
            AS each (scope, bucket, all_jobs, all_images, all_micro_usd)
        CROSS JOIN LATERAL darkroom_host_total(bucket) AS now
        WHERE scope = 'host' AND (
            now.jobs + unseen * step_jobs > all_jobs
            OR now.images + unseen * step_images > all_images
            OR now.micro_usd + unseen * step_micro_usd > all_micro_usd)
    ) THEN
        RAISE EXCEPTION 'a total of the host is exceeded' USING ERRCODE = 'serialization_failure';
    END IF;

    IF rules <> darkroom_rules(servers, members, channels, since) THEN
        RAISE EXCEPTION 'a rule has changed' USING ERRCODE = 'serialization_failure';
    END IF;
END
$$;
