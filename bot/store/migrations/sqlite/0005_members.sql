-- What belongs to members: favourites, pictures to edit, preferences; where a picture was made from; moderation.

ALTER TABLE jobs ADD COLUMN parent_picture BIGINT;                -- the number of the parent's picture that is edited
ALTER TABLE jobs ADD COLUMN source TEXT;                          -- the message of that picture: server/channel/message
ALTER TABLE jobs ADD COLUMN spoiler BIGINT NOT NULL DEFAULT 0;    -- set by its member or a moderator
CREATE INDEX jobs_of_parent ON jobs (parent_id) WHERE parent_id IS NOT NULL;

CREATE INDEX jobs_results ON jobs (user_id, id) WHERE images > 0 AND deleted_at IS NULL;
CREATE INDEX replies_of_message ON replies (message_id);

CREATE TABLE favorites (
    user_id BIGINT NOT NULL,
    job TEXT NOT NULL REFERENCES jobs (id),
    at BIGINT NOT NULL,
    PRIMARY KEY (user_id, job)
);
CREATE INDEX favorites_of_job ON favorites (job);

CREATE TABLE tray (                     -- pictures that a member has put aside to edit
    user_id BIGINT NOT NULL,
    n BIGINT NOT NULL,                  -- their order, from 1
    at BIGINT NOT NULL,
    body TEXT NOT NULL,                 -- JSON: the reference
    PRIMARY KEY (user_id, n)
);
CREATE INDEX tray_age ON tray (at);

CREATE TABLE preferences (
    user_id BIGINT PRIMARY KEY,
    body TEXT NOT NULL                  -- JSON
);

CREATE TABLE reports (                  -- by members, about a job, to the moderators of its server
    id TEXT PRIMARY KEY,                -- the interaction's
    job TEXT NOT NULL REFERENCES jobs (id),
    guild BIGINT NOT NULL,
    reporter BIGINT NOT NULL,
    at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    settled_at BIGINT,
    settled_by BIGINT,
    outcome TEXT                        -- taken_down, dismissed
);
CREATE UNIQUE INDEX reports_once ON reports (job, reporter);

CREATE TABLE strikes (                  -- against a member in a server; they expire
    id TEXT PRIMARY KEY,                -- the interaction's
    guild BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    reason TEXT NOT NULL                -- words, takedown
);
CREATE INDEX strikes_of_member ON strikes (guild, user_id, expires_at);

CREATE TABLE gallery (                  -- copies in a server's gallery channel
    job TEXT PRIMARY KEY REFERENCES jobs (id),
    guild BIGINT NOT NULL,
    channel_id BIGINT NOT NULL,
    message_id BIGINT,                  -- NULL: about to be posted
    at BIGINT NOT NULL
);
