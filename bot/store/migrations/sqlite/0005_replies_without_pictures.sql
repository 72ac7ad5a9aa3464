-- A reply may show its text without its pictures, and its member may have been told by a direct message.

ALTER TABLE replies ADD COLUMN text_version BIGINT NOT NULL DEFAULT 0;  -- the newest version shown without its pictures
ALTER TABLE replies ADD COLUMN notified BIGINT NOT NULL DEFAULT 0;      -- 1: by direct message, or that is not possible
