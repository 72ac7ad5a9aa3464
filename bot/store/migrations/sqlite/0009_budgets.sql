-- Limits that all processes keep together. SQLite has one process, which keeps its limits in memory.

CREATE TABLE budgets (
    name TEXT PRIMARY KEY,
    next_at BIGINT NOT NULL             -- when the first slot begins that nobody has; microseconds of the server's clock
);
