-- Times are UTC milliseconds, money is micro-dollars, booleans are 0 or 1, Discord's ids are BIGINT.

CREATE TABLE interactions (
    id BIGINT PRIMARY KEY,             -- Discord's: a repeated interaction makes one job
    at BIGINT NOT NULL,
    job TEXT,
    refusal TEXT                       -- the locale key of a refused request
);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    guild_id BIGINT,
    channel_id BIGINT NOT NULL,
    model TEXT NOT NULL,
    verb TEXT NOT NULL,
    request TEXT NOT NULL,             -- JSON: prompt, options, references
    provider TEXT NOT NULL,
    route TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    due_at BIGINT,
    give_up_after BIGINT NOT NULL,
    acked_at BIGINT,
    checked BIGINT NOT NULL,
    submitted_at BIGINT,
    started_at BIGINT,
    run_id TEXT,
    position BIGINT,
    cancel TEXT NOT NULL,
    reason TEXT,
    images BIGINT NOT NULL,
    flagged BIGINT NOT NULL,
    watch_until BIGINT,
    ended_at BIGINT,
    parent_id TEXT,
    deleted_at BIGINT
);
CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_open ON jobs (user_id, guild_id) WHERE ended_at IS NULL;
CREATE INDEX jobs_of_user ON jobs (user_id, created_at);
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE ended_at IS NOT NULL;
CREATE UNIQUE INDEX jobs_run ON jobs (provider, run_id) WHERE run_id IS NOT NULL;

CREATE TABLE job_events (
    job TEXT NOT NULL REFERENCES jobs (id),
    at BIGINT NOT NULL,
    before TEXT,
    after TEXT NOT NULL,
    reason TEXT
);
CREATE INDEX job_events_of ON job_events (job, at);

CREATE TABLE replies (
    job TEXT PRIMARY KEY REFERENCES jobs (id),
    application_id BIGINT NOT NULL,
    channel_id BIGINT NOT NULL,
    guild_id BIGINT,
    message_id BIGINT,
    ephemeral BIGINT NOT NULL,
    bot_can_edit BIGINT NOT NULL,
    bot_can_post BIGINT NOT NULL,
    filesize_limit BIGINT NOT NULL,
    locale TEXT NOT NULL,
    wanted BIGINT NOT NULL,
    delivered BIGINT NOT NULL,
    due_at BIGINT,
    gone BIGINT NOT NULL,
    attempts BIGINT NOT NULL
);
CREATE INDEX replies_due ON replies (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE tokens (
    job TEXT PRIMARY KEY REFERENCES jobs (id),
    token TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE pictures (
    job TEXT NOT NULL REFERENCES jobs (id),
    n BIGINT NOT NULL,
    file TEXT NOT NULL,
    type TEXT NOT NULL,
    width BIGINT NOT NULL,
    height BIGINT NOT NULL,
    size BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (job, n)
);
CREATE INDEX pictures_age ON pictures (made_at);

CREATE TABLE ledger (
    id INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    job TEXT,
    actor BIGINT NOT NULL,             -- the user id; 0 is Darkroom
    reason TEXT,
    guild BIGINT,
    channel BIGINT,
    "user" BIGINT NOT NULL,
    route TEXT,
    images BIGINT NOT NULL,
    micro_usd BIGINT NOT NULL,
    price_version TEXT
);
CREATE UNIQUE INDEX ledger_one_reserve ON ledger (job) WHERE kind = 'reserve';
CREATE UNIQUE INDEX ledger_one_end ON ledger (job) WHERE kind IN ('settle', 'release');
CREATE INDEX ledger_of_user ON ledger ("user", at);
CREATE INDEX ledger_of_job ON ledger (job);

CREATE TABLE totals (
    scope TEXT NOT NULL,               -- user, guild, host
    subject BIGINT NOT NULL,
    bucket TEXT NOT NULL,              -- day:2026-11-21, month:2026-11
    reserved_images BIGINT NOT NULL,
    reserved_micro_usd BIGINT NOT NULL,
    spent_images BIGINT NOT NULL,
    spent_micro_usd BIGINT NOT NULL,
    PRIMARY KEY (scope, subject, bucket)
);

CREATE TABLE host_cost (
    id INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    job TEXT NOT NULL,
    provider TEXT NOT NULL,
    route TEXT NOT NULL,
    micro_usd BIGINT NOT NULL,
    basis TEXT NOT NULL,               -- known: reported by the provider; assumed: possibly billed
    reason TEXT
);
CREATE UNIQUE INDEX host_cost_of_job ON host_cost (job);

CREATE TABLE hosts (
    provider TEXT PRIMARY KEY,
    trouble TEXT NOT NULL,             -- credentials, balance, down
    since BIGINT NOT NULL,
    told_at BIGINT
);

CREATE TABLE drafts (
    id TEXT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX drafts_age ON drafts (expires_at);

CREATE TABLE notes (
    key TEXT PRIMARY KEY,              -- see bot/store/notes.py
    value TEXT NOT NULL
);
