-- Each issue writes to the ends of tables and indexes, not to places all over them: the order of a list's
-- tokens is unique instead of their indices, which are a permutation of it, and rows get their
-- numbers without a table of sequences.

CREATE TABLE counted_tokens (
    seq          INTEGER PRIMARY KEY NOT NULL,
    jwt_id       TEXT NOT NULL UNIQUE,
    role         TEXT NOT NULL,
    client_id    TEXT NOT NULL,
    subject      TEXT NOT NULL,
    audience     TEXT NOT NULL,
    scope        TEXT NOT NULL,
    key_id       TEXT NOT NULL,
    created_by   TEXT NOT NULL,
    issued_at    INTEGER NOT NULL,
    expiration   INTEGER NOT NULL,
    list_id      TEXT NOT NULL REFERENCES status_lists (id),
    list_index   INTEGER NOT NULL,
    -- The place of the token in the order of its list. NULL: recorded before this column existed.
    list_counter INTEGER,
    -- As the list writes it: 0 valid, 1 revoked, 2 suspended; and the act that made it so.
    status       INTEGER NOT NULL DEFAULT 0 CHECK (status IN (0, 1, 2)),
    status_act   INTEGER REFERENCES status_acts (id),
    policy       INTEGER REFERENCES policies (number),
    agreement    TEXT,
    parent       TEXT,
    confirmation TEXT,
    UNIQUE (list_id, list_counter)
) STRICT;

INSERT INTO counted_tokens (seq, jwt_id, role, client_id, subject, audience, scope, key_id, created_by,
    issued_at, expiration, list_id, list_index, status, status_act, policy, agreement, parent,
    confirmation)
SELECT seq, jwt_id, role, client_id, subject, audience, scope, key_id, created_by,
    issued_at, expiration, list_id, list_index, status, status_act, policy, agreement, parent,
    confirmation
FROM tokens ORDER BY seq;

DROP TABLE tokens;
ALTER TABLE counted_tokens RENAME TO tokens;

CREATE INDEX tokens_by_role ON tokens (role);
CREATE INDEX tokens_by_client ON tokens (client_id);
CREATE INDEX tokens_by_subject ON tokens (subject);
CREATE INDEX tokens_by_key ON tokens (key_id);
CREATE INDEX tokens_by_agreement ON tokens (agreement) WHERE agreement IS NOT NULL;
CREATE INDEX tokens_not_valid ON tokens (list_id, list_index) WHERE status <> 0;

CREATE TABLE appended_audit (
    seq   INTEGER PRIMARY KEY NOT NULL,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    act   TEXT NOT NULL,
    entry TEXT NOT NULL
) STRICT;

INSERT INTO appended_audit SELECT seq, at_ms, actor, act, entry FROM audit ORDER BY seq;

DROP TABLE audit;
ALTER TABLE appended_audit RENAME TO audit;

CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
