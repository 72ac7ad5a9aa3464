-- Quotas: totals by hour, day, week and month of a server's calendar, bonuses, rules and their history.
-- Server 0: direct messages and user installs.

ALTER TABLE jobs ADD COLUMN installed BIGINT NOT NULL DEFAULT 1;  -- 0: a user install
ALTER TABLE jobs ADD COLUMN parent_channel BIGINT;                -- of a thread
ALTER TABLE jobs ADD COLUMN roles TEXT NOT NULL DEFAULT '';       -- the member's at the time of the request, separated by spaces

ALTER TABLE ledger ADD COLUMN hour TEXT;                          -- of a reservation: 2026-11-21T05+0100, and
ALTER TABLE ledger ADD COLUMN week TEXT;                          -- its Monday, on the server's calendar of that time
ALTER TABLE ledger ADD COLUMN bonus_images BIGINT NOT NULL DEFAULT 0;     -- the part that a bonus pays
ALTER TABLE ledger ADD COLUMN bonus_micro_usd BIGINT NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN bucket TEXT;                        -- of kind adjust: the window that it changes
ALTER TABLE ledger ADD COLUMN expires_at BIGINT;                  -- of kind grant

UPDATE ledger SET guild = 0 WHERE guild IS NULL;
UPDATE ledger SET
    hour = to_char(to_timestamp(at / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24"+0000"'),
    week = to_char(date_trunc('week', to_timestamp(at / 1000) AT TIME ZONE 'UTC'), 'YYYY-MM-DD')
WHERE kind = 'reserve';

DROP INDEX ledger_of_user;
DROP INDEX ledger_of_job;               -- the two unique indexes cover it
CREATE INDEX ledger_of_guild ON ledger (guild, at);
CREATE INDEX ledger_of_member ON ledger ("user", guild, at);

DROP TABLE totals;
CREATE TABLE totals (
    scope TEXT NOT NULL,                -- user (one member in one server), channel, guild, host
    guild BIGINT NOT NULL,
    bucket TEXT NOT NULL,               -- total, month:2026-11, week:2026-11-16, day:2026-11-21, hour:2026-11-21T05+0100
    subject BIGINT NOT NULL,            -- the member or the channel; 0 for server and host
    jobs BIGINT NOT NULL,               -- unfinished
    reserved_images BIGINT NOT NULL,
    reserved_micro_usd BIGINT NOT NULL,
    spent_images BIGINT NOT NULL,
    spent_micro_usd BIGINT NOT NULL,
    aside_images BIGINT NOT NULL,       -- the part of both that counts against no limit
    aside_micro_usd BIGINT NOT NULL,
    PRIMARY KEY (scope, guild, bucket, subject)
);

-- The totals computed from the rows of ledger and host_cost, for the audit.
CREATE VIEW rebuilt AS
WITH entries AS (
    SELECT held.guild AS guild, held.channel AS channel, held."user" AS member,
           held.at AS at, held.hour AS hour, held.week AS week,
           CASE WHEN ended.kind IS NULL THEN 1 ELSE 0 END AS jobs,
           CASE WHEN ended.kind IS NULL THEN held.images ELSE 0 END AS reserved_images,
           CASE WHEN ended.kind IS NULL THEN held.micro_usd ELSE 0 END AS reserved_micro_usd,
           CASE WHEN ended.kind = 'settle' THEN ended.images ELSE 0 END AS spent_images,
           CASE WHEN ended.kind = 'settle' THEN ended.micro_usd ELSE 0 END AS spent_micro_usd,
           CASE WHEN ended.kind IS NULL THEN held.bonus_images
                WHEN ended.kind = 'settle' THEN ended.bonus_images ELSE 0 END AS aside_images,
           CASE WHEN ended.kind IS NULL THEN held.bonus_micro_usd
                WHEN ended.kind = 'settle' THEN ended.bonus_micro_usd ELSE 0 END AS aside_micro_usd
    FROM ledger held LEFT JOIN ledger ended ON ended.job = held.job AND ended.kind IN ('settle', 'release')
    WHERE held.kind = 'reserve'
),
accounts AS (
    SELECT 'user' AS scope, guild, member AS subject, hour, week, jobs, reserved_images, reserved_micro_usd,
           spent_images, spent_micro_usd, aside_images, aside_micro_usd FROM entries
    UNION ALL
    SELECT 'channel', guild, channel, hour, week, jobs, reserved_images, reserved_micro_usd,
           spent_images, spent_micro_usd, 0, 0 FROM entries
    UNION ALL
    SELECT 'guild', guild, 0, hour, week, jobs, reserved_images, reserved_micro_usd,
           spent_images, spent_micro_usd, 0, 0 FROM entries
    UNION ALL
    SELECT 'host', 0, 0, to_char(to_timestamp(at / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24"+0000"'), to_char(date_trunc('week', to_timestamp(at / 1000) AT TIME ZONE 'UTC'), 'YYYY-MM-DD'),
           jobs, reserved_images, reserved_micro_usd, spent_images, 0, 0, 0 FROM entries
    UNION ALL
    SELECT 'host', 0, 0, to_char(to_timestamp(at / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24"+0000"'), to_char(date_trunc('week', to_timestamp(at / 1000) AT TIME ZONE 'UTC'), 'YYYY-MM-DD'),
           0, 0, 0, 0, micro_usd, 0, 0 FROM host_cost
),
spans AS (
    SELECT 'total' AS span UNION ALL SELECT 'month' UNION ALL SELECT 'week' UNION ALL SELECT 'day' UNION ALL SELECT 'hour'
),
counted AS (
    SELECT scope, guild, subject,
           CASE span WHEN 'total' THEN 'total' WHEN 'week' THEN 'week:' || week
                     WHEN 'month' THEN 'month:' || substr(hour, 1, 7) WHEN 'day' THEN 'day:' || substr(hour, 1, 10)
                     ELSE 'hour:' || hour END AS bucket,
           jobs, reserved_images, reserved_micro_usd, spent_images, spent_micro_usd, aside_images, aside_micro_usd
    FROM accounts CROSS JOIN spans
    UNION ALL
    SELECT CASE WHEN "user" <> 0 THEN 'user' WHEN channel <> 0 THEN 'channel' ELSE 'guild' END, guild,
           CASE WHEN "user" <> 0 THEN "user" ELSE channel END, bucket, 0, 0, 0, 0, 0, -images, -micro_usd
    FROM ledger WHERE kind = 'adjust' AND bucket IS NOT NULL
)
SELECT scope, guild, bucket, subject,
       CAST(sum(jobs) AS BIGINT) AS jobs,
       CAST(sum(reserved_images) AS BIGINT) AS reserved_images,
       CAST(sum(reserved_micro_usd) AS BIGINT) AS reserved_micro_usd,
       CAST(sum(spent_images) AS BIGINT) AS spent_images,
       CAST(sum(spent_micro_usd) AS BIGINT) AS spent_micro_usd,
       CAST(sum(aside_images) AS BIGINT) AS aside_images,
       CAST(sum(aside_micro_usd) AS BIGINT) AS aside_micro_usd
FROM counted GROUP BY scope, guild, bucket, subject;

INSERT INTO totals SELECT * FROM rebuilt;

CREATE TABLE limits (                   -- set by admins and the operator; the others are configured
    guild BIGINT NOT NULL,
    holder TEXT NOT NULL,               -- user, role, channel, guild, cap (the operator's on a server), host
    subject BIGINT NOT NULL,            -- 0 for server, cap and host
    unit TEXT NOT NULL,                 -- images, micro_usd, jobs, block
    span TEXT NOT NULL,                 -- hour, day, week, month, total; now for jobs and blocks
    amount BIGINT,                      -- NULL: no limit
    PRIMARY KEY (guild, holder, subject, unit, span)
);

CREATE TABLE grants (                   -- what is left of each bonus; its ledger row has the same id
    id BIGINT PRIMARY KEY,
    guild BIGINT NOT NULL,
    "user" BIGINT NOT NULL,
    unit TEXT NOT NULL,                 -- images, micro_usd
    amount BIGINT NOT NULL,
    remaining BIGINT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX grants_of_member ON grants (guild, "user") WHERE remaining > 0;

CREATE TABLE draws (                    -- what a job takes from a bonus
    job TEXT NOT NULL,
    n BIGINT NOT NULL,                  -- the order in which it was taken
    grant_id BIGINT NOT NULL REFERENCES grants (id),
    pictures BIGINT NOT NULL,
    taken BIGINT NOT NULL,              -- in the unit of the grant
    PRIMARY KEY (job, n)
);
CREATE INDEX draws_of_grant ON draws (grant_id);

CREATE TABLE houses (                   -- server settings: calendar, channels, models
    guild BIGINT PRIMARY KEY,
    body TEXT NOT NULL                  -- JSON
);

CREATE TABLE changes (                  -- the history of quotas and settings
    n BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL,                   -- the interaction's: a repeated one changes once
    guild BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor BIGINT NOT NULL,              -- 0: the operator at the command line
    action TEXT NOT NULL,
    holder TEXT NOT NULL,
    subject BIGINT NOT NULL,
    body TEXT NOT NULL                  -- JSON
);
CREATE UNIQUE INDEX changes_once ON changes (id);
CREATE INDEX changes_of_guild ON changes (guild, at);

CREATE TABLE alerts (                   -- limit warnings; each is sent once
    id TEXT PRIMARY KEY,                -- server, limit, bucket, per cent
    guild BIGINT NOT NULL,
    at BIGINT NOT NULL,
    body TEXT NOT NULL,                 -- JSON
    told_at BIGINT
);
CREATE INDEX alerts_untold ON alerts (at) WHERE told_at IS NULL;
