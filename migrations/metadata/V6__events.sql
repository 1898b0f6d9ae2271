-- Those that have ended lately, for whoever follows jobs.
CREATE INDEX jobs_ended ON pgsluice.jobs (finished_at, id) WHERE finished_at IS NOT NULL;
