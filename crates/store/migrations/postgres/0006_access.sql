-- Requests for access, and the tokens that were issued under them.
ALTER TABLE tokens ADD COLUMN grant_id TEXT COLLATE "C";
CREATE INDEX tokens_of_a_grant ON tokens (grant_id) WHERE grant_id IS NOT NULL;

CREATE TABLE access_requests (
    seq        BIGINT PRIMARY KEY,
    id         TEXT COLLATE "C" NOT NULL UNIQUE,
    role       TEXT COLLATE "C" NOT NULL,
    client_id  TEXT COLLATE "C" NOT NULL,
    subject    TEXT COLLATE "C" NOT NULL,
    asked_by   TEXT COLLATE "C" NOT NULL,
    recorded   TEXT COLLATE "C" NOT NULL,
    -- First second of access, and first second after it.
    begins     BIGINT,
    ends       BIGINT,
    -- When it expires without a decision, in milliseconds.
    expires_ms BIGINT NOT NULL,
    -- 1: it broke the glass, and nobody has looked at it yet.
    unreviewed BIGINT NOT NULL,
    -- 0: it was ended, and its tokens may not be revoked yet.
    settled    BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    document   TEXT COLLATE "C" NOT NULL
);

CREATE INDEX access_of ON access_requests (role, client_id, subject);
CREATE INDEX access_by ON access_requests (asked_by, expires_ms);
CREATE INDEX access_unsettled ON access_requests (seq) WHERE settled = 0;
CREATE UNIQUE INDEX access_unreviewed ON access_requests (role) WHERE unreviewed = 1;

-- What is to be told to whom. A notice that was taken or given up is deleted.
CREATE TABLE notices (
    id       BIGINT PRIMARY KEY,
    channel  TEXT COLLATE "C" NOT NULL,
    at_ms    BIGINT NOT NULL,
    document TEXT COLLATE "C" NOT NULL,
    urgent   BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    again_ms BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX notices_untold ON notices (channel, again_ms);
