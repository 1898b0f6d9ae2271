-- Keys of the API. Of a secret there is only its SHA-256: it is 256 random bits, which nobody can try out, so that the slow hash that
-- passwords need would protect nothing more. A key does not change but for its revocation.
CREATE TABLE pgsluice.keys (
    id                  text PRIMARY KEY,    -- the public part of the key; jobs.principal holds it
    name                text NOT NULL,       -- for people
    secret_sha256       bytea NOT NULL CHECK (length(secret_sha256) = 32),
    role                text NOT NULL CHECK (role IN ('read', 'load', 'admin')),
    tables              text[] NOT NULL,     -- patterns: schema.name, with * for any characters
    pg_role             text,                -- SET LOCAL ROLE for its loads
    requests_per_minute int CHECK (requests_per_minute > 0),
    loads_max           int CHECK (loads_max > 0),
    bytes_per_hour      bigint CHECK (bytes_per_hour > 0),
    created_at          timestamptz NOT NULL DEFAULT now(),
    expires_at          timestamptz,
    revoked_at          timestamptz
);

-- Whoever may see only what is its own asks for that.
CREATE INDEX jobs_principal ON pgsluice.jobs (principal, id);
