-- Acts on statuses by rule, suspension, and tokens in the order of their issue.

CREATE TABLE status_acts (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms           INTEGER NOT NULL,
    actor           TEXT NOT NULL,
    act             TEXT NOT NULL CHECK (act IN ('revoke', 'suspend', 'resume')),
    selection       TEXT NOT NULL,
    reason          TEXT NOT NULL,
    -- Selected are tokens after `done_seq`, up to `last_seq`, that had not expired at `at_ms`.
    done_seq        INTEGER NOT NULL,
    last_seq        INTEGER NOT NULL,
    finished        INTEGER NOT NULL DEFAULT 0,
    -- Until then no token is issued that would be selected; 0: not any more.
    blocks_until_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX status_acts_to_finish ON status_acts (id) WHERE finished = 0;
CREATE INDEX status_acts_blocking ON status_acts (blocks_until_ms) WHERE blocks_until_ms > 0;

ALTER TABLE status_lists ADD COLUMN bits INTEGER NOT NULL DEFAULT 1 CHECK (bits IN (1, 2));
-- Its tokens come after this one.
ALTER TABLE status_lists ADD COLUMN after_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE status_lists ADD COLUMN resumes INTEGER NOT NULL DEFAULT 0;

CREATE TABLE ordered_tokens (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    jwt_id     TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    client_id  TEXT NOT NULL,
    subject    TEXT NOT NULL,
    audience   TEXT NOT NULL,
    scope      TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    created_by TEXT NOT NULL,
    issued_at  INTEGER NOT NULL,
    expiration INTEGER NOT NULL,
    list_id    TEXT NOT NULL REFERENCES status_lists (id),
    list_index INTEGER NOT NULL,
    -- As the list writes it: 0 valid, 1 revoked, 2 suspended; and the act that made it so.
    status     INTEGER NOT NULL DEFAULT 0 CHECK (status IN (0, 1, 2)),
    status_act INTEGER REFERENCES status_acts (id),
    UNIQUE (list_id, list_index)
) STRICT;

INSERT INTO ordered_tokens (jwt_id, role, client_id, subject, audience, scope, key_id, created_by,
    issued_at, expiration, list_id, list_index, status)
SELECT jwt_id, role, client_id, subject, audience, scope,
    coalesce((SELECT key_id FROM signing_keys WHERE use = 'signing'), ''), created_by,
    issued_at, expiration, list_id, list_index, revoked_at_ms IS NOT NULL
FROM tokens ORDER BY issued_at, rowid;

DROP TABLE tokens;
ALTER TABLE ordered_tokens RENAME TO tokens;

CREATE INDEX tokens_by_role ON tokens (role);
CREATE INDEX tokens_by_client ON tokens (client_id);
CREATE INDEX tokens_by_subject ON tokens (subject);
CREATE INDEX tokens_by_key ON tokens (key_id);
CREATE INDEX tokens_not_valid ON tokens (list_id, list_index) WHERE status <> 0;
