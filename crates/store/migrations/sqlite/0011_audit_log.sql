-- Each entry is stored as the log holds it, apart from its personal values, which can be erased. The program
-- moves the entries of `old_audit` when it opens the database.

DROP TRIGGER audit_is_append_only_update;
DROP TRIGGER audit_is_append_only_delete;
ALTER TABLE audit RENAME TO old_audit;

CREATE TABLE audit (
    -- The place in the log: 1 is the first.
    seq     INTEGER PRIMARY KEY NOT NULL,
    at_ms   INTEGER NOT NULL,
    leaf    TEXT NOT NULL,
    -- NULL: erased.
    salt    BLOB,
    private TEXT
) STRICT;

-- The trail only grows, and of an entry only the personal values can be erased.
CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
WHEN new.seq <> old.seq OR new.at_ms <> old.at_ms OR new.leaf <> old.leaf
    OR new.salt IS NOT NULL OR new.private IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

-- The log of the audit trail: one row.
CREATE TABLE log (
    id         INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    -- The first line of its checkpoints, and the path below which it is published.
    origin     TEXT NOT NULL,
    path       TEXT NOT NULL,
    public_key BLOB NOT NULL,
    sealed     BLOB NOT NULL,
    -- Number of entries that the checkpoint covers, and the signed checkpoint.
    size       INTEGER NOT NULL DEFAULT 0,
    checkpoint TEXT NOT NULL DEFAULT ''
) STRICT;

-- 256 hashes each; the last of a level may have fewer.
CREATE TABLE log_tiles (
    level  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, number)
) STRICT;
