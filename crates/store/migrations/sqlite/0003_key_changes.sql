-- Keys that were compromised or withdrawn, and when each was published, began to sign, and retires.

CREATE TABLE changing_keys (
    key_id       TEXT PRIMARY KEY NOT NULL,
    use          TEXT NOT NULL
        CHECK (use IN ('signing', 'standby', 'retired', 'compromised', 'withdrawn')),
    x            BLOB NOT NULL,
    -- Empty once the key is withdrawn.
    sealed       BLOB NOT NULL,
    created_at   INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL,
    published_at INTEGER,
    signs_since  INTEGER,
    retires_at   INTEGER
) STRICT;

INSERT INTO changing_keys (key_id, use, x, sealed, created_at, changed_at, signs_since)
SELECT key_id, use, x, sealed, created_at, changed_at,
    CASE use WHEN 'signing' THEN created_at END
FROM signing_keys;

DROP TABLE signing_keys;
ALTER TABLE changing_keys RENAME TO signing_keys;

CREATE UNIQUE INDEX one_signing_key ON signing_keys (use) WHERE use = 'signing';
CREATE UNIQUE INDEX one_standby_key ON signing_keys (use) WHERE use = 'standby';
