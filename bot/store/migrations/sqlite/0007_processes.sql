-- Several processes on one database: who is alive, whose a job is, and what they know of providers together.

CREATE TABLE processes (
    id INTEGER PRIMARY KEY,
    roles TEXT NOT NULL,                -- separated by spaces
    host TEXT NOT NULL,                 -- the machine's name
    machine TEXT NOT NULL,              -- where processes with the same value see each other's pid; empty: unknown
    pid BIGINT NOT NULL,
    version TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,            -- its last heartbeat: its leases end some time later
    leaving BIGINT NOT NULL DEFAULT 0   -- 1: it was told to stop and gets no new jobs
);

ALTER TABLE jobs ADD COLUMN worker BIGINT NOT NULL DEFAULT 0;   -- the process that the job and its reply belong to; 0: none
ALTER TABLE jobs ADD COLUMN lease BIGINT NOT NULL DEFAULT 0;    -- the number of its lease, higher with each
ALTER TABLE jobs ADD COLUMN version BIGINT NOT NULL DEFAULT 0;  -- of the row, higher with each change
CREATE INDEX jobs_with_slot ON jobs (provider) WHERE state IN ('submitting', 'queued', 'running');

CREATE TABLE provider_health (          -- its row is locked while a slot of the provider is taken
    provider TEXT PRIMARY KEY,
    n BIGINT NOT NULL,                  -- higher with each change
    body TEXT NOT NULL                  -- JSON: circuit breaker and Retry-After; empty: nothing is known
);
