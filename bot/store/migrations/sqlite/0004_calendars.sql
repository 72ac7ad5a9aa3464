-- The operator's limits count in UTC, separately from the server's calendar, and hours are UTC hours everywhere, so that a
-- change of timezone starts no new window. A reservation keeps its day; its hour follows from its time.

DROP VIEW rebuilt;
ALTER TABLE ledger RENAME COLUMN hour TO day;                     -- of a reservation: 2026-11-21
UPDATE ledger SET day = substr(day, 1, 10) WHERE day IS NOT NULL;

-- The totals computed from the rows of ledger and host_cost, for the audit.
CREATE VIEW rebuilt AS
WITH entries AS (
    SELECT held.guild AS guild, held.channel AS channel, held."user" AS member,
           held.at AS at, held.day AS day, held.week AS week,
           date(held.at / 1000, 'unixepoch') AS utc_day,
           date(held.at / 1000, 'unixepoch', '-6 days', 'weekday 1') AS utc_week,
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
    SELECT 'user' AS scope, guild, member AS subject, at, day, week, jobs, reserved_images, reserved_micro_usd,
           spent_images, spent_micro_usd, aside_images, aside_micro_usd FROM entries
    UNION ALL
    SELECT 'channel', guild, channel, at, day, week, jobs, reserved_images, reserved_micro_usd,
           spent_images, spent_micro_usd, 0, 0 FROM entries
    UNION ALL
    SELECT 'guild', guild, 0, at, day, week, jobs, reserved_images, reserved_micro_usd,
           spent_images, spent_micro_usd, 0, 0 FROM entries
    UNION ALL
    SELECT 'cap', guild, 0, at, utc_day, utc_week, jobs, reserved_images, reserved_micro_usd,
           spent_images, spent_micro_usd, 0, 0 FROM entries
    UNION ALL
    SELECT 'host', 0, 0, at, utc_day, utc_week, jobs, reserved_images, reserved_micro_usd,
           spent_images, 0, 0, 0 FROM entries
    UNION ALL
    SELECT 'host', 0, 0, at,
           date(at / 1000, 'unixepoch'),
           date(at / 1000, 'unixepoch', '-6 days', 'weekday 1'),
           0, 0, 0, 0, micro_usd, 0, 0 FROM host_cost
),
spans AS (
    SELECT 'total' AS span UNION ALL SELECT 'month' UNION ALL SELECT 'week' UNION ALL SELECT 'day' UNION ALL SELECT 'hour'
),
counted AS (
    SELECT scope, guild, subject,
           CASE span WHEN 'total' THEN 'total' WHEN 'week' THEN 'week:' || week
                     WHEN 'month' THEN 'month:' || substr(day, 1, 7) WHEN 'day' THEN 'day:' || day
                     ELSE 'hour:' || strftime('%Y-%m-%dT%H+0000', at / 1000, 'unixepoch') END AS bucket,
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

DELETE FROM totals;
INSERT INTO totals SELECT * FROM rebuilt;

-- A reply may show its text without its pictures, and a direct message may have been sent to its member.

ALTER TABLE replies ADD COLUMN text_version BIGINT NOT NULL DEFAULT 0;  -- the newest version shown without its pictures
ALTER TABLE replies ADD COLUMN notified BIGINT NOT NULL DEFAULT 0;      -- 1: a direct message was sent, or cannot be
