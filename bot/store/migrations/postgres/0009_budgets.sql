-- Limits that all processes keep together. Nothing is lost with the rows, so that they need not be in the log.

CREATE UNLOGGED TABLE budgets (
    name TEXT PRIMARY KEY,
    next_at BIGINT NOT NULL             -- when the first slot begins that nobody has; microseconds of the server's clock
);
