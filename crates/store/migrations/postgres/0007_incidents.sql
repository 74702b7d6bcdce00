-- Incidents: what was leaked or misused, and what people answered about it.
CREATE TABLE incidents (
    seq      BIGINT PRIMARY KEY,
    id       TEXT COLLATE "C" NOT NULL UNIQUE,
    version  BIGINT NOT NULL,
    document TEXT COLLATE "C" NOT NULL
);
