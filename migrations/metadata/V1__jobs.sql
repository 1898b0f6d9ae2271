-- Who is alive. An instance that has not said so for the length of its lease is dead, and others resolve its jobs.
CREATE TABLE pgsluice.instances (
    id           uuid PRIMARY KEY,
    host         text NOT NULL,        -- boot id and pid namespace: within one, a pid means one process
    pid          int NOT NULL,
    process_start bigint NOT NULL,     -- in clock ticks since boot, which tells a reused pid apart
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now()
);

-- One row a load. States only move forward: running → committing → committed | failed, and running → failed | cancelled.
CREATE TABLE pgsluice.jobs (
    id               uuid PRIMARY KEY,  -- version 7: newer jobs sort later
    instance         uuid NOT NULL,
    target           uuid NOT NULL,     -- the id of the database that the rows go to
    table_name       text NOT NULL,
    state            text NOT NULL CHECK (state IN ('running', 'committing', 'committed', 'failed', 'cancelled')),
    format           text NOT NULL,
    mode             text NOT NULL,
    rows_received    bigint NOT NULL DEFAULT 0,
    rows_loaded      bigint NOT NULL DEFAULT 0,
    rows_rejected    bigint NOT NULL DEFAULT 0,
    bytes_received   bigint NOT NULL DEFAULT 0,
    bytes_decoded    bigint NOT NULL DEFAULT 0,
    timings_ms       jsonb,
    error            jsonb,             -- the problem document that the load was answered with
    reason           text,              -- the problem's short name
    cancel_requested boolean NOT NULL DEFAULT false,
    backend_pid      int NOT NULL,      -- the server process that runs the load, and its start in microseconds since 1970
    backend_start    bigint NOT NULL,
    xid              text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz,
    CHECK ((state IN ('running', 'committing')) = (finished_at IS NULL))
);

CREATE INDEX jobs_unfinished ON pgsluice.jobs (instance) WHERE state IN ('running', 'committing');
CREATE INDEX jobs_table ON pgsluice.jobs (table_name, id);
CREATE INDEX jobs_state ON pgsluice.jobs (state, id);
