-- The least privileges that each of the service's roles needs. Roles that are missing are made; those that are there keep what they have.
--
--   psql -v migration=sluice_migrate -v metadata=sluice_meta -v keys=sluice_keys -v target=sluice_load -f scripts/grants.sql -d DATABASE
--
--   migration   pgsluice migrate: owns the schema pgsluice and all that is in it
--   metadata    pgsluice serve --database-url
--   keys        pgsluice keys: makes and revokes keys, which the service itself cannot
--   target      pgsluice serve --bulk-database-url
--
-- Run it as a superuser: first for the roles and the schema, then, after pgsluice migrate,
-- for what is in it, and again after each migration. If the target is a database of its own, run it in both, and leave out the variables of
-- the roles that have nothing to do there. The roles are made without a password: \password, or pg_hba.conf.
--
-- What the target role may load is granted by you:
--
--   GRANT USAGE ON SCHEMA sales TO sluice_load; GRANT INSERT ON sales.orders TO sluice_load;
--   GRANT sales_team TO sluice_load;      -- for keys with --pg-role sales_team

\set ON_ERROR_STOP on
\if :{?migration}
\else
    \warn 'The role that migrates is missing: -v migration=…'
    DO $$ BEGIN RAISE 'no migration role'; END $$;
\endif

BEGIN;
SELECT format('CREATE ROLE %I LOGIN', :'migration') WHERE to_regrole(quote_ident(:'migration')) IS NULL \gexec
CREATE SCHEMA IF NOT EXISTS pgsluice;
ALTER SCHEMA pgsluice OWNER TO :"migration";
SELECT to_regclass('pgsluice.jobs') IS NOT NULL AS has_metadata, to_regclass('pgsluice.ledger') IS NOT NULL AS has_ledger \gset

\if :{?metadata}
    SELECT format('CREATE ROLE %I LOGIN', :'metadata') WHERE to_regrole(quote_ident(:'metadata')) IS NULL \gexec
    GRANT USAGE ON SCHEMA pgsluice TO :"metadata";
    \if :has_metadata
        GRANT SELECT ON pgsluice.metadata_migrations, pgsluice.keys TO :"metadata";
        GRANT SELECT, INSERT, UPDATE, DELETE ON pgsluice.jobs TO :"metadata";
        GRANT SELECT, INSERT, DELETE ON pgsluice.rejects TO :"metadata";
        GRANT SELECT, INSERT, UPDATE ON pgsluice.sweeps TO :"metadata";
        GRANT SELECT, INSERT, UPDATE, DELETE ON pgsluice.instances TO :"metadata";
    \endif
\endif

\if :{?keys}
    SELECT format('CREATE ROLE %I LOGIN', :'keys') WHERE to_regrole(quote_ident(:'keys')) IS NULL \gexec
    GRANT USAGE ON SCHEMA pgsluice TO :"keys";
    \if :has_metadata
        GRANT SELECT, INSERT, UPDATE (revoked_at) ON pgsluice.keys TO :"keys";
    \endif
\endif

\if :{?target}
    SELECT format('CREATE ROLE %I LOGIN', :'target') WHERE to_regrole(quote_ident(:'target')) IS NULL \gexec
    GRANT USAGE ON SCHEMA pgsluice TO :"target";
    \if :has_ledger
        GRANT SELECT ON pgsluice.target_migrations, pgsluice.target TO :"target";
        GRANT SELECT, INSERT, DELETE ON pgsluice.ledger TO :"target";
    \endif
\endif
COMMIT;
