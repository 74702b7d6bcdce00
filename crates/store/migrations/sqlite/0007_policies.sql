-- Policy versions, and the version and agreement of each token.

CREATE TABLE policies (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    digest          TEXT NOT NULL UNIQUE,
    text            TEXT NOT NULL,
    recorded_at_ms  INTEGER NOT NULL,
    -- The last time at which `serve` changed to the version; 0: never.
    served_since_ms INTEGER NOT NULL DEFAULT 0
) STRICT;

ALTER TABLE tokens ADD COLUMN policy INTEGER REFERENCES policies (number);
ALTER TABLE tokens ADD COLUMN agreement TEXT;
