-- Restored backups, and statuses that were published without a record in the restored database.

CREATE TABLE restores (
    number INTEGER PRIMARY KEY NOT NULL,
    -- Part of the name of every list that is opened from then on.
    epoch  TEXT NOT NULL UNIQUE,
    at_ms  INTEGER NOT NULL
) STRICT;

CREATE TABLE adopted_statuses (
    list_id    TEXT NOT NULL REFERENCES status_lists (id),
    list_index INTEGER NOT NULL,
    -- As the list writes it: 1 revoked, 2 suspended.
    status     INTEGER NOT NULL CHECK (status IN (1, 2)),
    PRIMARY KEY (list_id, list_index)
) STRICT, WITHOUT ROWID;
