-- An idempotency key is held by the load that runs or is committed under it. A load that fails or is cancelled gives its key back by the
-- same UPDATE that ends it; a committed one keeps it until it has expired and somebody comes with it again.
ALTER TABLE pgsluice.jobs
    ADD COLUMN principal       text NOT NULL DEFAULT '',  -- whose keys: everybody's, as long as the service asks nobody who they are
    ADD COLUMN idempotency_key text,
    ADD COLUMN requested_table text,    -- the table as the client spelled it: found without asking the target database what it is
    ADD COLUMN key_fingerprint bytea,   -- SHA-256 of what was asked for
    ADD COLUMN key_digest      jsonb,   -- the digests that were declared of the body, by algorithm, in hexadecimal
    ADD COLUMN key_expired     boolean NOT NULL DEFAULT false,
    ADD CHECK ((idempotency_key IS NULL) = (requested_table IS NULL) AND (idempotency_key IS NULL) = (key_fingerprint IS NULL));

-- The database arbitrates: of two loads that begin at once, on whichever instance, one gets the key.
CREATE UNIQUE INDEX jobs_key_holder ON pgsluice.jobs (target, principal, table_name, idempotency_key)
    WHERE idempotency_key IS NOT NULL AND state IN ('running', 'committing', 'committed') AND NOT key_expired;
CREATE INDEX jobs_key ON pgsluice.jobs (idempotency_key, id) WHERE idempotency_key IS NOT NULL;
