-- Requests by message, and threads in which results are edited.

ALTER TABLE replies ADD COLUMN request_message BIGINT;             -- the message that requested; NULL: an interaction
ALTER TABLE replies ADD COLUMN thread BIGINT NOT NULL DEFAULT 0;   -- 1: the finished card gets a thread

CREATE INDEX jobs_results_of_channel ON jobs (channel_id, id) WHERE images > 0 AND deleted_at IS NULL;

CREATE TABLE threads (                  -- which result is edited next, where it is not the newest one of the thread
    channel_id BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    newest TEXT NOT NULL,               -- the newest result at that time; a newer one is edited instead
    job TEXT NOT NULL REFERENCES jobs (id)
);
CREATE INDEX threads_of_job ON threads (job);
