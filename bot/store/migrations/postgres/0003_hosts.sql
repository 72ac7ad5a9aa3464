-- Two hosts: a job may move between them before either has taken it, and where a host cannot cancel, its card can be hidden.

ALTER TABLE job_events ADD COLUMN provider TEXT;  -- the host that the job stood at from then on
ALTER TABLE jobs ADD COLUMN hidden_at BIGINT;     -- its member does not want to see it in the channel
