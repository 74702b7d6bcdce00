-- Tokens that were replaced, to be revoked once their grace has passed.

CREATE TABLE replaced_tokens (
    jwt_id      TEXT PRIMARY KEY NOT NULL,
    replaced_by TEXT NOT NULL,
    actor       TEXT NOT NULL,
    -- When the token is revoked, in seconds.
    due         INTEGER NOT NULL
) STRICT;

CREATE INDEX replaced_tokens_by_time ON replaced_tokens (due);
CREATE INDEX tokens_by_agreement ON tokens (agreement) WHERE agreement IS NOT NULL;
