-- Every change of a job is told to whoever listens, on whichever instance: that there was one, and not which, so that nobody learns by
-- listening what may only be asked for. What is told is not relied on; whoever waits for a change also asks from time to time.
CREATE FUNCTION pgsluice.tell_of_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('pgsluice_jobs', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER tell_of_jobs AFTER INSERT OR UPDATE ON pgsluice.jobs
    FOR EACH STATEMENT EXECUTE FUNCTION pgsluice.tell_of_jobs();

-- Those that have ended lately.
CREATE INDEX jobs_ended ON pgsluice.jobs (finished_at) WHERE finished_at IS NOT NULL;
