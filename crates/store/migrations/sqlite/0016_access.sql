-- Requests for access, and the tokens that were issued under them.
ALTER TABLE tokens ADD COLUMN grant_id TEXT;
CREATE INDEX tokens_of_a_grant ON tokens (grant_id) WHERE grant_id IS NOT NULL;

CREATE TABLE access_requests (
    seq        INTEGER PRIMARY KEY NOT NULL,
    id         TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    client_id  TEXT NOT NULL,
    subject    TEXT NOT NULL,
    asked_by   TEXT NOT NULL,
    recorded   TEXT NOT NULL,
    -- First second of access, and first second after it.
    begins     INTEGER,
    ends       INTEGER,
    -- When it expires without a decision, in milliseconds.
    expires_ms INTEGER NOT NULL,
    -- 1: it broke the glass, and nobody has looked at it yet.
    unreviewed INTEGER NOT NULL,
    -- 0: it was ended, and its tokens may not be revoked yet.
    settled    INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    document   TEXT NOT NULL
) STRICT;

CREATE INDEX access_of ON access_requests (role, client_id, subject);
CREATE INDEX access_by ON access_requests (asked_by, expires_ms);
CREATE INDEX access_unsettled ON access_requests (seq) WHERE settled = 0;
CREATE UNIQUE INDEX access_unreviewed ON access_requests (role) WHERE unreviewed = 1;

-- What is to be told to whom. A notice that was taken or given up is deleted.
CREATE TABLE notices (
    id       INTEGER PRIMARY KEY NOT NULL,
    channel  TEXT NOT NULL,
    at_ms    INTEGER NOT NULL,
    document TEXT NOT NULL,
    urgent   INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    again_ms INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX notices_untold ON notices (channel, again_ms);
