-- Keys of other algorithms than Ed25519. `public_key` of an EdDSA key is what `x` was.

ALTER TABLE signing_keys RENAME COLUMN x TO public_key;
ALTER TABLE signing_keys ADD COLUMN algorithm TEXT NOT NULL DEFAULT 'EdDSA'
    CHECK (algorithm IN ('EdDSA', 'ES256', 'RS256'));
