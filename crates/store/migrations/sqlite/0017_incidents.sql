-- Incidents: what was leaked or misused, and what people answered about it.
CREATE TABLE incidents (
    seq      INTEGER PRIMARY KEY NOT NULL,
    id       TEXT NOT NULL UNIQUE,
    version  INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;
