-- Rows that a load turned away, in the order of its body. Written before the load commits, and kept when it does not.
CREATE TABLE pgsluice.rejects (
    job_id      uuid NOT NULL REFERENCES pgsluice.jobs ON DELETE CASCADE,
    number      int NOT NULL,          -- 1, 2, 3 …
    line        bigint,
    row         bigint,                -- instead of the line, in formats without lines
    byte_offset bigint,
    column_name text,
    type_name   text,
    value       text,
    sqlstate    text NOT NULL,
    reason      text NOT NULL,
    record      bytea NOT NULL,        -- as it came
    PRIMARY KEY (job_id, number)
);

ALTER TABLE pgsluice.jobs
    ADD COLUMN rejected_by_column jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN rejects_header bytea;   -- what stands before the records of its rejects: the header of a CSV
