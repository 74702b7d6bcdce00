-- Identifiers that were used and may not be used again, such as `jti` of client assertions.

CREATE TABLE used_ids (
    digest BLOB PRIMARY KEY NOT NULL,
    -- From then on the row may go.
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX used_ids_by_end ON used_ids (until);

-- Tokens that were exchanged for narrower ones, and what a token is bound to.

ALTER TABLE tokens ADD COLUMN parent TEXT;
-- The claim `cnf`, in JSON.
ALTER TABLE tokens ADD COLUMN confirmation TEXT;

-- The tokens from which a token was exchanged, directly or not. An act on one covers them all.
CREATE TABLE ancestors (
    ancestor TEXT NOT NULL,
    -- `seq` of the token.
    seq      INTEGER NOT NULL,
    PRIMARY KEY (ancestor, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX ancestors_by_token ON ancestors (seq);
