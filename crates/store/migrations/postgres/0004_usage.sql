-- The use of a token, as far as guards reported it. Goes with the token's record.
CREATE TABLE token_uses (
    seq             BIGINT PRIMARY KEY,
    accepted        BIGINT NOT NULL,
    refused         BIGINT NOT NULL,
    first_ms        BIGINT,
    last_ms         BIGINT,
    last_refused_ms BIGINT,
    -- Where from and how, as JSON of a bounded size.
    detail          TEXT COLLATE "C" NOT NULL
);

-- Days are numbers of days since the epoch.
CREATE TABLE usage_days (
    day       BIGINT NOT NULL,
    role      TEXT COLLATE "C" NOT NULL,
    client_id TEXT COLLATE "C" NOT NULL,
    route     TEXT COLLATE "C" NOT NULL,
    scope     TEXT COLLATE "C" NOT NULL,
    code      TEXT COLLATE "C" NOT NULL,
    count     BIGINT NOT NULL,
    PRIMARY KEY (day, role, client_id, route, scope, code)
);

-- Isolates and processes of reporters, until their reports are too old to be taken.
CREATE TABLE usage_isolates (
    reporter TEXT COLLATE "C" NOT NULL,
    isolate  TEXT COLLATE "C" NOT NULL,
    number   BIGINT NOT NULL,
    lost     BIGINT NOT NULL,
    last_ms  BIGINT NOT NULL,
    PRIMARY KEY (reporter, isolate)
);

CREATE INDEX usage_isolates_by_time ON usage_isolates (last_ms);

CREATE TABLE usage_reporters (
    client_id     TEXT COLLATE "C" PRIMARY KEY,
    -- As of the last report, as a JSON array.
    audiences     TEXT COLLATE "C" NOT NULL,
    first_ms      BIGINT NOT NULL,
    last_ms       BIGINT NOT NULL,
    reports       BIGINT NOT NULL,
    missing       BIGINT NOT NULL,
    lost          BIGINT NOT NULL,
    folded        BIGINT NOT NULL,
    incomplete_ms BIGINT
);
