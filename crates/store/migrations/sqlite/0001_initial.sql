-- Times are seconds since the epoch unless the column ends in _ms.

CREATE TABLE signing_keys (
    key_id     TEXT PRIMARY KEY NOT NULL,
    use        TEXT NOT NULL CHECK (use IN ('signing', 'standby', 'retired')),
    x          BLOB NOT NULL,
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX one_signing_key ON signing_keys (use) WHERE use = 'signing';

CREATE TABLE status_lists (
    id           TEXT PRIMARY KEY NOT NULL,
    window_end   INTEGER NOT NULL,
    secret       BLOB NOT NULL,
    capacity     INTEGER NOT NULL,
    next_counter INTEGER NOT NULL DEFAULT 0 CHECK (next_counter <= capacity),
    number       INTEGER NOT NULL DEFAULT 0,
    issued_at    INTEGER NOT NULL DEFAULT 0,
    -- Every revocation counts one change; an edition covers all changes up to `published`.
    changes      INTEGER NOT NULL DEFAULT 0,
    published    INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX status_lists_by_window ON status_lists (window_end);

CREATE TABLE tokens (
    jwt_id        TEXT PRIMARY KEY NOT NULL,
    role          TEXT NOT NULL,
    client_id     TEXT NOT NULL,
    subject       TEXT NOT NULL,
    audience      TEXT NOT NULL,
    scope         TEXT NOT NULL,
    created_by    TEXT NOT NULL,
    issued_at     INTEGER NOT NULL,
    expiration    INTEGER NOT NULL,
    list_id       TEXT NOT NULL REFERENCES status_lists (id),
    list_index    INTEGER NOT NULL,
    revoked_at_ms INTEGER,
    revoked_for   TEXT,
    UNIQUE (list_id, list_index)
) STRICT;

CREATE INDEX tokens_by_role ON tokens (role, issued_at);
CREATE INDEX tokens_revoked ON tokens (list_id, list_index) WHERE revoked_at_ms IS NOT NULL;

CREATE TABLE audit (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms  INTEGER NOT NULL,
    actor  TEXT NOT NULL,
    act    TEXT NOT NULL,
    entry  TEXT NOT NULL
) STRICT;

-- The trail only grows.
CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
