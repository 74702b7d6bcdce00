-- What rules about misuse have found. A rule finds a subject once.
CREATE TABLE findings (
    id        BIGINT PRIMARY KEY,
    at_ms     BIGINT NOT NULL,
    rule      TEXT COLLATE "C" NOT NULL,
    subject   TEXT COLLATE "C" NOT NULL,
    role      TEXT COLLATE "C" NOT NULL,
    client_id TEXT COLLATE "C" NOT NULL,
    action    TEXT COLLATE "C" NOT NULL,
    dry_run   BIGINT NOT NULL,
    evidence  TEXT COLLATE "C" NOT NULL,
    outcome   TEXT COLLATE "C" NOT NULL,
    policy    BIGINT NOT NULL,
    -- Telling the webhook: attempts, when it took the finding, and when to try again unless it was given up.
    attempts  BIGINT NOT NULL DEFAULT 0,
    told_ms   BIGINT,
    again_ms  BIGINT DEFAULT 0,
    UNIQUE (rule, subject)
);

CREATE INDEX findings_by_time ON findings (at_ms);
CREATE INDEX findings_pending ON findings (id) WHERE outcome = 'pending';
CREATE INDEX findings_untold ON findings (again_ms) WHERE again_ms IS NOT NULL;
