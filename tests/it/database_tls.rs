//! TLS to PostgreSQL: each `sslmode` holds the server to what libpq says it does, and never to less.

use std::path::PathBuf;
use std::process::Command;

use crate::support::certificates::{Authority, Certified, Dates, self_signed, write};
use crate::support::{Service, TlsServer, Trickle, World};

struct Setting {
    server: TlsServer,
    authority: Authority,
    dir: tempfile::TempDir,
    root: PathBuf,
    other_root: PathBuf,
}

impl Setting {
    /// A server whose certificate is for `localhost`, and not for its address.
    async fn new() -> Setting {
        let authority = Authority::new("the right one");
        let server = TlsServer::start(&authority.certify("server", &["localhost"], Dates::Good), &authority.pem()).await;
        let dir = tempfile::tempdir().unwrap();
        let root = write(dir.path(), "root.crt", &authority.pem());
        let other_root = write(dir.path(), "other.crt", &Authority::new("another one").pem());
        Setting { server, authority, dir, root, other_root }
    }

    fn identity(&self, name: &str, certified: &Certified) -> String {
        let certificate = write(self.dir.path(), &format!("{name}.crt"), &certified.chain);
        let key = write(self.dir.path(), &format!("{name}.key"), &certified.key);
        format!("sslcert={}&sslkey={}", certificate.display(), key.display())
    }

    async fn as_app(&self, host: &str, parameters: &str) -> Result<(), String> {
        connect(&self.server.url("app", host, parameters), &[]).await
    }
}

/// Connects as every command does; what was said if that failed.
async fn connect(url: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgsluice"));
    command.args(["migrate", "--database-url", url]).env_remove("PGSLUICE_BULK_DATABASE_URL");
    command.envs(environment.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("s3cret"), "a password is in {said}");
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[track_caller]
fn refused(result: Result<(), String>, why: &str) {
    let said = result.expect_err(why);
    assert!(said.contains(why), "{why}: {said}");
}

#[tokio::test]
async fn each_mode_verifies_what_it_says() {
    let setting = Setting::new().await;
    let (root, other) = (setting.root.display(), setting.other_root.display());
    // The server has TLS for this role, or nothing.
    refused(setting.as_app("localhost", "sslmode=disable").await, "no encryption");
    for mode in ["", "sslmode=prefer", "sslmode=require"] {
        setting.as_app("localhost", mode).await.unwrap();
        // Without roots nothing is verified, so the name does not matter.
        setting.as_app("127.0.0.1", mode).await.unwrap();
        // With them the chain is.
        setting.as_app("127.0.0.1", &format!("{mode}&sslrootcert={root}")).await.unwrap();
        refused(setting.as_app("localhost", &format!("{mode}&sslrootcert={other}")).await, "UnknownIssuer");
    }
    setting.as_app("127.0.0.1", &format!("sslmode=verify-ca&sslrootcert={root}")).await.unwrap();
    setting.as_app("localhost", &format!("sslmode=verify-full&sslrootcert={root}")).await.unwrap();
    refused(
        setting.as_app("127.0.0.1", &format!("sslmode=verify-full&sslrootcert={root}")).await,
        "subjectAltName",
    );
    // Each of several hosts by its own name, so that the one is found which has it, and no other's name counts for it.
    let port = setting.server.port();
    let verified = format!("sslmode=verify-full&sslrootcert={root}");
    setting.as_app(&format!("127.0.0.1:{port},localhost"), &verified).await.unwrap();
    refused(
        setting.as_app(&format!("localhost:1,127.0.0.1:{port},127.0.0.1"), &verified).await,
        "subjectAltName",
    );
    for mode in ["verify-ca", "verify-full"] {
        refused(
            setting.as_app("localhost", &format!("sslmode={mode}&sslrootcert={other}")).await,
            "not signed by one in sslrootcert",
        );
        refused(setting.as_app("localhost", &format!("sslmode={mode}")).await, "sslrootcert=system");
    }
    // The driver's own parameters go on working, and SCRAM is bound to the channel.
    setting
        .as_app(
            "localhost",
            &format!("channel_binding=require&sslmode=verify-full&sslrootcert={root}&connect_timeout=5"),
        )
        .await
        .unwrap();
    refused(setting.as_app("localhost", "sslcrl=x").await, "sslcrl");
    let hidden = format!("postgresql://app:s3cret@/db?hostaddr=127.0.0.1&port={}&sslmode=require", setting.server.port());
    connect(&hidden, &[]).await.unwrap();
}

#[tokio::test]
async fn certificates_that_are_no_good() {
    let setting = Setting::new().await;
    let authority = &setting.authority;
    let root = setting.root.display();

    setting.server.present(&authority.certify("server", &["localhost"], Dates::Expired)).await;
    setting.as_app("localhost", "sslmode=require").await.unwrap();
    for mode in ["require", "verify-ca", "verify-full"] {
        refused(
            setting.as_app("localhost", &format!("sslmode={mode}&sslrootcert={root}")).await,
            "certificate expired",
        );
    }

    setting
        .server
        .present(&authority.certify("server", &["db.example", "127.0.0.1"], Dates::Good))
        .await;
    setting.as_app("127.0.0.1", &format!("sslmode=verify-full&sslrootcert={root}")).await.unwrap();
    refused(setting.as_app("localhost", &format!("sslmode=verify-full&sslrootcert={root}")).await, "localhost");

    // Authority and server in one, as the manual of PostgreSQL shows: to be trusted only by name of itself.
    for (dates, good) in [(Dates::Good, true), (Dates::Expired, false)] {
        let own = self_signed(&["localhost"], dates);
        let path = write(setting.dir.path(), "self.crt", &own.chain);
        setting.server.present(&own).await;
        refused(
            setting.as_app("localhost", &format!("sslmode=verify-ca&sslrootcert={root}")).await,
            if good { "not in sslrootcert" } else { "expired" },
        );
        let trusted = setting.as_app("localhost", &format!("sslmode=verify-full&sslrootcert={}", path.display())).await;
        if good {
            trusted.unwrap();
            refused(
                setting.as_app("127.0.0.1", &format!("sslmode=verify-full&sslrootcert={}", path.display())).await,
                "not valid for name",
            );
        } else {
            refused(trusted, "certificate expired");
        }
    }
}

#[tokio::test]
async fn the_platforms_roots() {
    let setting = Setting::new().await;
    let url = setting.server.url("app", "localhost", "sslrootcert=system");
    let roots = |path: &PathBuf| path.to_str().unwrap().to_owned();
    connect(&url, &[("SSL_CERT_FILE", &roots(&setting.root))]).await.unwrap();
    refused(connect(&url, &[("SSL_CERT_FILE", &roots(&setting.other_root))]).await, "UnknownIssuer");
    // The name is verified even if nothing was said about it.
    let url = setting.server.url("app", "127.0.0.1", "sslrootcert=system");
    refused(connect(&url, &[("SSL_CERT_FILE", &roots(&setting.root))]).await, "not valid for name");
    refused(setting.as_app("localhost", "sslmode=require&sslrootcert=system").await, "verify-full");
}

#[tokio::test]
async fn files_that_are_no_good_are_named() {
    let setting = Setting::new().await;
    let empty = write(setting.dir.path(), "empty.pem", "");
    let binary = write(setting.dir.path(), "binary.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (path, why) in [
        (PathBuf::from("/nowhere/root.crt"), "No such file"),
        (empty, "no certificate in it"),
        (binary, "sslrootcert="),
        (setting.dir.path().to_owned(), "directory"),
    ] {
        let result = setting.as_app("localhost", &format!("sslmode=verify-ca&sslrootcert={}", path.display())).await;
        refused(result.clone(), why);
        refused(result, path.to_str().unwrap());
        // One that is not needed is not looked at.
        let plain = setting.server.url("plain", "localhost", &format!("sslmode=disable&sslrootcert={}", path.display()));
        connect(&plain, &[]).await.unwrap();
    }
    let mine = setting.authority.certify("certified", &[], Dates::Good);
    let others = Certified {
        chain: mine.chain.clone(),
        key: setting.authority.certify("certified", &[], Dates::Good).key,
    };
    let mixed = setting.identity("mixed", &others);
    refused(setting.as_app("localhost", &format!("sslmode=require&{mixed}")).await, "mixed.key");
    let keyless = setting.identity("keyless", &Certified { chain: mine.chain.clone(), key: mine.chain });
    refused(setting.as_app("localhost", &format!("sslmode=require&{keyless}")).await, "no private key in it");
}

#[tokio::test]
async fn client_certificates() {
    let setting = Setting::new().await;
    let connect_with = |parameters: String| {
        let url = setting.server.url(
            "certified",
            "localhost",
            &format!("sslmode=verify-full&sslrootcert={}&{parameters}", setting.root.display()),
        );
        async move { connect(&url, &[]).await }
    };
    refused(connect_with(String::new()).await, "requires a valid client certificate");
    let good = setting.identity("good", &setting.authority.certify("certified", &[], Dates::Good));
    connect_with(good).await.unwrap();
    let somebody = setting.identity("somebody", &setting.authority.certify("somebody", &[], Dates::Good));
    refused(connect_with(somebody).await, "authentication failed");
    let foreign = setting.identity("foreign", &Authority::new("another one").certify("certified", &[], Dates::Good));
    refused(connect_with(foreign).await, "client certificate");
    let expired = setting.identity("expired", &setting.authority.certify("certified", &[], Dates::Expired));
    refused(connect_with(expired).await, "client certificate");
}

#[tokio::test]
async fn a_server_without_tls() {
    let setting = Setting::new().await;
    setting.server.admin("postgres").await.sql("ALTER SYSTEM SET ssl = off").await;
    setting.server.reload().await;
    for parameters in ["sslmode=prefer", "sslmode=disable", ""] {
        connect(&setting.server.url("plain", "localhost", parameters), &[]).await.unwrap();
    }
    let root = setting.root.display();
    for parameters in ["sslmode=require".to_owned(), format!("sslmode=verify-full&sslrootcert={root}")] {
        let said = connect(&setting.server.url("plain", "localhost", &parameters), &[]).await.unwrap_err();
        assert!(said.contains("does not support TLS") && said.contains("sslmode=disable"), "{said}");
    }
}

#[tokio::test]
async fn loads_and_cancels_go_over_tls() {
    let setting = Setting::new().await;
    let db = setting.server.admin("db").await;
    let url = setting
        .server
        .url("app", "localhost", &format!("sslmode=verify-full&sslrootcert={}", setting.root.display()));
    let service = Service::start(&url, &[]).await;
    db.sql(
        "CREATE TABLE t (id int, name text); CREATE TABLE slow (id int); GRANT ALL ON t, slow TO app; \
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END'; \
         CREATE TRIGGER wait BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION wait()",
    )
    .await;
    let world = World::of(db, service);
    let rows: String = (0..200_000).map(|id| format!("{id},{}\n", "x".repeat(id % 50))).collect();
    world.load_csv("t", format!("id,name\n{rows}")).await.committed(200_000);

    let load = Trickle::begin(&world, "slow?segments=one");
    load.send("id\n1\n");
    let job = world.wait_for_job(|job| job["state"] == "running").await;
    let (finishing, cancelling) = (load.finish(), async {
        world.db.wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'").await;
        let encrypted = "SELECT bool_and(ssl.ssl)::text FROM pg_stat_activity a JOIN pg_stat_ssl ssl USING (pid) \
                         WHERE a.application_name LIKE 'pgsluice%'";
        assert_eq!(world.db.texts(encrypted).await, [Some("true".to_owned())]);
        world.cancel(job["id"].as_str().unwrap()).await;
    });
    let (answer, ()) = tokio::join!(finishing, cancelling);
    answer.problem(409, "cancelled");
    // The server was told, or it would sleep on.
    world.db.wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'").await;
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_in_use_from_the_next_connection_on() {
    let setting = Setting::new().await;
    let db = setting.server.admin("db").await;
    let root = write(setting.dir.path(), "rotating.crt", &setting.authority.pem());
    let url = setting
        .server
        .url("app", "localhost", &format!("sslmode=verify-full&sslrootcert={}", root.display()));
    let service = Service::start(&url, &[]).await;
    db.sql("CREATE TABLE t (id int); GRANT ALL ON t TO app").await;
    let world = World::of(db, service);
    world.load_csv("t", "id\n1\n").await.committed(1);

    let next = Authority::new("the next one");
    setting.server.present(&next.certify("server", &["localhost"], Dates::Good)).await;
    let end = "SELECT count(pg_terminate_backend(pid)) >= 0 FROM pg_stat_activity WHERE application_name LIKE 'pgsluice%'";
    world.db.wait_until(end).await;
    let answer = world.load_csv("t", "id\n2\n").await;
    assert_eq!(answer.status, 503, "{:#}", answer.json);
    write(setting.dir.path(), "rotating.crt", &next.pem());
    world.load_csv("t", "id\n3\n").await.committed(1);
}
