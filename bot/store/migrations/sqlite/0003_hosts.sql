-- Several providers: a job may change its provider before one accepts it; a reply can be hidden where the provider cannot cancel.

ALTER TABLE job_events ADD COLUMN provider TEXT;  -- the job's provider after the transition
ALTER TABLE jobs ADD COLUMN hidden_at BIGINT;     -- when the member hid the reply
