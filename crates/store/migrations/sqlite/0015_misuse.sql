-- What rules about misuse have found. A rule finds a subject once.
CREATE TABLE findings (
    id        INTEGER PRIMARY KEY NOT NULL,
    at_ms     INTEGER NOT NULL,
    rule      TEXT NOT NULL,
    subject   TEXT NOT NULL,
    role      TEXT NOT NULL,
    client_id TEXT NOT NULL,
    action    TEXT NOT NULL,
    dry_run   INTEGER NOT NULL,
    evidence  TEXT NOT NULL,
    outcome   TEXT NOT NULL,
    policy    INTEGER NOT NULL,
    -- Telling the webhook: attempts, when it took the finding, and when to try again unless it was given up.
    attempts  INTEGER NOT NULL DEFAULT 0,
    told_ms   INTEGER,
    again_ms  INTEGER DEFAULT 0,
    UNIQUE (rule, subject)
) STRICT;

CREATE INDEX findings_by_time ON findings (at_ms);
CREATE INDEX findings_pending ON findings (id) WHERE outcome = 'pending';
CREATE INDEX findings_untold ON findings (again_ms) WHERE again_ms IS NOT NULL;
