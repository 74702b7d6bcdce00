-- The use of a token, as far as guards reported it. Goes with the token's record.
CREATE TABLE token_uses (
    seq             INTEGER PRIMARY KEY NOT NULL,
    accepted        INTEGER NOT NULL,
    refused         INTEGER NOT NULL,
    first_ms        INTEGER,
    last_ms         INTEGER,
    last_refused_ms INTEGER,
    -- Where from and how, as JSON of a bounded size.
    detail          TEXT NOT NULL
) STRICT;

-- Days are numbers of days since the epoch.
CREATE TABLE usage_days (
    day       INTEGER NOT NULL,
    role      TEXT NOT NULL,
    client_id TEXT NOT NULL,
    route     TEXT NOT NULL,
    scope     TEXT NOT NULL,
    code      TEXT NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (day, role, client_id, route, scope, code)
) STRICT, WITHOUT ROWID;

-- Isolates and processes of reporters, until their reports are too old to be taken.
CREATE TABLE usage_isolates (
    reporter TEXT NOT NULL,
    isolate  TEXT NOT NULL,
    number   INTEGER NOT NULL,
    lost     INTEGER NOT NULL,
    last_ms  INTEGER NOT NULL,
    PRIMARY KEY (reporter, isolate)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_isolates_by_time ON usage_isolates (last_ms);

CREATE TABLE usage_reporters (
    client_id     TEXT PRIMARY KEY NOT NULL,
    -- As of the last report, as a JSON array.
    audiences     TEXT NOT NULL,
    first_ms      INTEGER NOT NULL,
    last_ms       INTEGER NOT NULL,
    reports       INTEGER NOT NULL,
    missing       INTEGER NOT NULL,
    lost          INTEGER NOT NULL,
    folded        INTEGER NOT NULL,
    incomplete_ms INTEGER
) STRICT, WITHOUT ROWID;
