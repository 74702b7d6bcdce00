-- Times are seconds since the epoch unless the column ends in _ms. Names compare byte by byte, as in SQLite.
-- Numbers that count up are given under the lock that every transaction that writes takes first, so that a number is larger than that of every row
-- that was committed before, and none is left out.

-- One row. `version` counts the transactions that have written.
CREATE TABLE writer (
    id      BIGINT PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL
) WITH (fillfactor = 10);

INSERT INTO writer VALUES (1, 0);

-- The process that publishes, changes keys and extends the log: one row.
CREATE TABLE lease (
    id            BIGINT PRIMARY KEY CHECK (id = 1),
    holder        TEXT NOT NULL,
    -- Rises with every new holder.
    fence         BIGINT NOT NULL,
    -- By the clock of the database.
    expires_at_ms BIGINT NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE signing_keys (
    key_id       TEXT COLLATE "C" PRIMARY KEY,
    use          TEXT NOT NULL
        CHECK (use IN ('signing', 'standby', 'retired', 'compromised', 'withdrawn')),
    algorithm    TEXT NOT NULL CHECK (algorithm IN ('EdDSA', 'ES256', 'RS256')),
    public_key   BYTEA NOT NULL,
    -- Empty once the key is withdrawn.
    sealed       BYTEA NOT NULL,
    created_at   BIGINT NOT NULL,
    changed_at   BIGINT NOT NULL,
    published_at BIGINT,
    signs_since  BIGINT,
    retires_at   BIGINT
);

CREATE UNIQUE INDEX one_signing_key ON signing_keys (use) WHERE use = 'signing';
CREATE UNIQUE INDEX one_standby_key ON signing_keys (use) WHERE use = 'standby';

CREATE TABLE status_lists (
    id           TEXT COLLATE "C" PRIMARY KEY,
    window_end   BIGINT NOT NULL,
    secret       BYTEA NOT NULL,
    capacity     BIGINT NOT NULL,
    next_counter BIGINT NOT NULL DEFAULT 0 CHECK (next_counter <= capacity),
    number       BIGINT NOT NULL DEFAULT 0,
    issued_at    BIGINT NOT NULL DEFAULT 0,
    -- Every step of an act counts one change; an edition covers all changes up to `published`.
    changes      BIGINT NOT NULL DEFAULT 0,
    -- Changes by acts that are finished: what an edition must cover.
    due          BIGINT NOT NULL DEFAULT 0,
    published    BIGINT NOT NULL DEFAULT 0,
    bits         BIGINT NOT NULL CHECK (bits IN (1, 2)),
    -- Its tokens come after this one.
    after_seq    BIGINT NOT NULL DEFAULT 0,
    resumes      BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX status_lists_by_window ON status_lists (window_end);
CREATE INDEX status_lists_undue ON status_lists (id) WHERE due < changes;

CREATE TABLE policies (
    number          BIGINT PRIMARY KEY,
    digest          TEXT COLLATE "C" NOT NULL UNIQUE,
    text            TEXT NOT NULL,
    recorded_at_ms  BIGINT NOT NULL,
    -- The last time at which `serve` changed to the version; 0: never.
    served_since_ms BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE status_acts (
    id              BIGINT PRIMARY KEY,
    at_ms           BIGINT NOT NULL,
    actor           TEXT NOT NULL,
    act             TEXT NOT NULL CHECK (act IN ('revoke', 'suspend', 'resume')),
    selection       TEXT NOT NULL,
    reason          TEXT NOT NULL,
    -- Selected are tokens after `done_seq`, up to `last_seq`, that had not expired at `at_ms`.
    done_seq        BIGINT NOT NULL,
    last_seq        BIGINT NOT NULL,
    finished        BOOLEAN NOT NULL DEFAULT false,
    -- Until then no token is issued that would be selected; 0: not any more.
    blocks_until_ms BIGINT NOT NULL
);

CREATE INDEX status_acts_to_finish ON status_acts (id) WHERE NOT finished;
CREATE INDEX status_acts_blocking ON status_acts (blocks_until_ms) WHERE blocks_until_ms > 0;

CREATE TABLE tokens (
    -- The place in the order of issue.
    seq          BIGINT PRIMARY KEY,
    jwt_id       TEXT COLLATE "C" NOT NULL UNIQUE,
    role         TEXT COLLATE "C" NOT NULL,
    client_id    TEXT COLLATE "C" NOT NULL,
    subject      TEXT COLLATE "C" NOT NULL,
    audience     TEXT NOT NULL,
    scope        TEXT NOT NULL,
    key_id       TEXT COLLATE "C" NOT NULL,
    created_by   TEXT NOT NULL,
    issued_at    BIGINT NOT NULL,
    expiration   BIGINT NOT NULL,
    list_id      TEXT COLLATE "C" NOT NULL REFERENCES status_lists (id),
    list_index   BIGINT NOT NULL,
    -- The place of the token in the order of its list. The index is a permutation of it.
    list_counter BIGINT,
    -- As the list writes it: 0 valid, 1 revoked, 2 suspended; and the act that made it so.
    status       BIGINT NOT NULL DEFAULT 0 CHECK (status IN (0, 1, 2)),
    status_act   BIGINT REFERENCES status_acts (id),
    policy       BIGINT REFERENCES policies (number),
    agreement    TEXT COLLATE "C",
    parent       TEXT,
    -- The claim `cnf`, in JSON.
    confirmation TEXT,
    UNIQUE (list_id, list_counter)
);

CREATE INDEX tokens_by_role ON tokens (role);
CREATE INDEX tokens_by_client ON tokens (client_id);
CREATE INDEX tokens_by_subject ON tokens (subject);
CREATE INDEX tokens_by_key ON tokens (key_id);
CREATE INDEX tokens_by_agreement ON tokens (agreement) WHERE agreement IS NOT NULL;
CREATE INDEX tokens_not_valid ON tokens (list_id, list_index) WHERE status <> 0;

-- The tokens from which a token was exchanged, directly or not. An act on one covers them all.
CREATE TABLE ancestors (
    ancestor TEXT COLLATE "C" NOT NULL,
    -- `seq` of the token.
    seq      BIGINT NOT NULL,
    PRIMARY KEY (ancestor, seq)
);

CREATE INDEX ancestors_by_token ON ancestors (seq);

-- Tokens that were replaced, to be revoked once their grace has passed.
CREATE TABLE replaced_tokens (
    jwt_id      TEXT COLLATE "C" PRIMARY KEY,
    replaced_by TEXT NOT NULL,
    actor       TEXT NOT NULL,
    -- When the token is revoked, in seconds.
    due         BIGINT NOT NULL
);

CREATE INDEX replaced_tokens_by_time ON replaced_tokens (due);

-- Identifiers that were used and may not be used again, such as `jti` of client assertions.
CREATE TABLE used_ids (
    digest BYTEA PRIMARY KEY,
    -- From then on the row may go.
    until  BIGINT NOT NULL
);

CREATE INDEX used_ids_by_end ON used_ids (until);

-- The audit trail. Each entry is stored as the log holds it, apart from its personal values.
CREATE TABLE audit (
    -- The place in the log: 1 is the first.
    seq     BIGINT PRIMARY KEY,
    at_ms   BIGINT NOT NULL,
    leaf    TEXT NOT NULL,
    -- NULL: erased.
    salt    BYTEA,
    private TEXT
);

-- The trail only grows, and of an entry only the personal values can be erased.
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END
$$;
CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit FOR EACH ROW
WHEN (new.seq <> old.seq OR new.at_ms <> old.at_ms OR new.leaf <> old.leaf
    OR new.salt IS NOT NULL OR new.private IS NOT NULL)
EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit FOR EACH ROW
EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_is_append_only_truncate BEFORE TRUNCATE ON audit
EXECUTE FUNCTION audit_is_append_only();

-- The log of the audit trail: one row.
CREATE TABLE log (
    id         BIGINT PRIMARY KEY CHECK (id = 1),
    -- The first line of its checkpoints, and the path below which it is published.
    origin     TEXT NOT NULL,
    path       TEXT NOT NULL,
    public_key BYTEA NOT NULL,
    sealed     BYTEA NOT NULL,
    -- Number of entries that the checkpoint covers, and the signed checkpoint.
    size       BIGINT NOT NULL DEFAULT 0,
    checkpoint TEXT NOT NULL DEFAULT ''
);

-- 256 hashes each; the last of a level may have fewer.
CREATE TABLE log_tiles (
    level  BIGINT NOT NULL,
    number BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (level, number)
);

-- Restored backups, and statuses that were published without a record in the restored database.
CREATE TABLE restores (
    number BIGINT PRIMARY KEY,
    -- Part of the name of every list that is opened from then on.
    epoch  TEXT NOT NULL UNIQUE,
    at_ms  BIGINT NOT NULL
);

CREATE TABLE adopted_statuses (
    list_id    TEXT COLLATE "C" NOT NULL REFERENCES status_lists (id),
    list_index BIGINT NOT NULL,
    -- As the list writes it: 1 revoked, 2 suspended.
    status     BIGINT NOT NULL CHECK (status IN (1, 2)),
    PRIMARY KEY (list_id, list_index)
);

-- The published documents, as the process that leads made them. The others serve them from here.
CREATE TABLE documents (
    path   TEXT COLLATE "C" PRIMARY KEY,
    body   BYTEA NOT NULL,
    -- `writer.version` of the transaction that wrote it.
    serial BIGINT NOT NULL
);

CREATE INDEX documents_by_serial ON documents (serial);
