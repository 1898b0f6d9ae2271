-- Old jobs are found by when they ended.
CREATE INDEX jobs_finished ON pgsluice.jobs (target, finished_at) WHERE finished_at IS NOT NULL;

-- Which instance deletes the old jobs of a target. Another may take its place when it has not done so for a while.
CREATE TABLE pgsluice.sweeps (
    target   uuid PRIMARY KEY,
    instance uuid NOT NULL,
    swept_at timestamptz NOT NULL
);
