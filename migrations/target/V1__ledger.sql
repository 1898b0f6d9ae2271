-- Which database this is. A job remembers it, so that nobody asks the ledger of another database what became of the job.
CREATE TABLE pgsluice.target (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid()
);
INSERT INTO pgsluice.target DEFAULT VALUES;

-- The one answer to "is it loaded?": a row is written in the load's own transaction, so it is there if and only if the rows are.
CREATE TABLE pgsluice.ledger (
    job_id     uuid PRIMARY KEY,
    table_name text NOT NULL,
    rows       bigint NOT NULL,
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
