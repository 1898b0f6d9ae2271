//! Where a setting comes from, and that what does not make sense is refused with its reason.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::{Database, Scrape, Service, World};

/// A directory with a file of settings.
struct Place(tempfile::TempDir);

impl Place {
    fn with(text: impl AsRef<[u8]>) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        std::fs::write(place.file(), text).unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("pgsluice.toml")
    }
}

fn pgsluice(subcommand: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgsluice"));
    command.arg(subcommand).env_clear();
    command
}

fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[track_caller]
fn refused(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

/// The line of one setting.
fn line<'a>(page: &'a str, key: &str) -> &'a str {
    let of_key = |line: &&str| line.starts_with(&format!("{key} = ")) || line.starts_with(&format!("# {key} "));
    page.lines().find(of_key).unwrap_or_else(|| panic!("no {key} in\n{page}"))
}

#[test]
fn a_flag_beats_the_environment_and_that_the_file_and_that_the_default() {
    let place = Place::with("bulk-slots = 11\npool-size = 12\nlog = 'debug'\nallow-unauthenticated = true\npool-pre-ping = false\n");
    let file = place.file();
    let page = printed(
        pgsluice("config")
            .args(["--bulk-slots", "31", "--config"])
            .arg(&file)
            .env("PGSLUICE_BULK_SLOTS", "21")
            .env("PGSLUICE_POOL_SIZE", "22"),
    );
    let from_file = format!("file {}", file.display());
    for (key, value, origin) in [
        ("bulk-slots", "31", "flag"),
        ("pool-size", "22", "environment PGSLUICE_POOL_SIZE"),
        ("log", "\"debug\"", from_file.as_str()),
        ("allow-unauthenticated", "true", from_file.as_str()),
        ("pool-pre-ping", "false", from_file.as_str()),
        ("pool-timeout", "5", "default"),
        ("listen", "\"127.0.0.1:8080\"", "default"),
    ] {
        assert_eq!(line(&page, key), format!("{key} = {value}  # {origin}"));
    }
    assert_eq!(line(&page, "data-dir"), "# data-dir is not set");
    // A variable can undo what the file says, also for a flag that has no value.
    let undone = printed(pgsluice("config").env("PGSLUICE_CONFIG", &file).env("PGSLUICE_ALLOW_UNAUTHENTICATED", "false"));
    assert!(line(&undone, "allow-unauthenticated").starts_with("allow-unauthenticated = false"), "{undone}");
    // And without anything, all is as it is.
    let bare = printed(&mut pgsluice("config"));
    assert!(bare.lines().all(|line| line.ends_with("# default") || line.ends_with("is not set")), "{bare}");
}

#[test]
fn what_is_printed_can_be_read_again() {
    let first =
        printed(pgsluice("config").args(["--spool-dir", "/tmp/a \"b\" #c", "--log", "warn", "--bulk-slots", "7", "--data-dir", "/x"]));
    let place = Place::with(&first);
    let second = printed(pgsluice("config").arg("--config").arg(place.file()));
    let values = |page: &str| -> Vec<String> {
        page.lines()
            .map(|line| line.rsplit_once("  # ").map_or(line, |(value, _)| value).to_owned())
            .collect()
    };
    assert_eq!(values(&first), values(&second));
    let set = |page: &str| page.lines().filter(|line| !line.starts_with('#')).count();
    assert!(set(&first) > 20);
    assert_eq!(second.matches(&format!("# file {}", place.file().display())).count(), set(&second));
}

#[test]
fn passwords_are_masked_wherever_they_come_from() {
    let place = Place::with("bulk-database-url = 'postgresql://b:geheim3@h/d?password=geheim4'\n");
    let page = printed(
        pgsluice("config")
            .env("DATABASE_URL", "postgresql://u:geheim1@h/d")
            .arg("--config")
            .arg(place.file()),
    );
    assert_eq!(line(&page, "database-url"), "database-url = \"postgresql://u:***@h/d\"  # environment DATABASE_URL");
    assert!(line(&page, "bulk-database-url").starts_with("bulk-database-url = \"postgresql://b:***@h/d?password=***\"  # file "));
    let page = printed(
        pgsluice("config")
            .env("DATABASE_URL", "postgresql://u:geheim1@h/d")
            .env("PGSLUICE_DATABASE_URL", "postgresql://v:geheim2@h/d")
            .args(["--bulk-database-url", "geheim5"]),
    );
    assert_eq!(
        line(&page, "database-url"),
        "database-url = \"postgresql://v:***@h/d\"  # environment PGSLUICE_DATABASE_URL"
    );
    assert_eq!(line(&page, "bulk-database-url"), "bulk-database-url = \"***\"  # flag");
    assert!(!page.contains("geheim"));
    // Nor where the file cannot be read as TOML.
    let broken = Place::with("database-url = 'postgresql://u:geheim@h/d\n");
    let reason = refused(pgsluice("config").arg("--config").arg(broken.file()));
    assert!(reason.contains("line 1") && !reason.contains("geheim"), "{reason}");
}

#[test]
fn a_file_that_makes_no_sense_is_refused_by_name() {
    for (text, reason) in [
        ("bulk_slots = 3", "there is no setting \"bulk_slots\"; did you mean \"bulk-slots\"?"),
        ("bulk-slot = 3", "did you mean \"bulk-slots\"?"),
        ("xyzzy = 3", "there is no setting \"xyzzy\"; `pgsluice serve --help` lists them"),
        ("config = 'other.toml'", "there is no setting \"config\""),
        ("help = true", "there is no setting \"help\""),
        ("[bulk]\nslots = 3", "there is no setting \"bulk\""),
        ("bulk-slots = {}", "bulk-slots is a text, a number, true or false"),
        ("bulk-slots = 2026-01-01", "bulk-slots is a text, a number, true or false"),
        ("bulk-slots = [[3]]", "bulk-slots is a text, a number, true or false"),
        ("bulk-slots = 0", "invalid value '0' for '--bulk-slots"),
        ("bulk-slots = 'three'", "invalid value 'three' for '--bulk-slots"),
        ("bulk-slots = [3, 4]", "cannot be used multiple times"),
        ("allow-unauthenticated = 'maybe'", "unexpected value 'maybe' for '--allow-unauthenticated'"),
        ("listen = 'here'", "invalid value 'here' for '--listen"),
        ("log-format = 'xml'", "invalid value 'xml' for '--log-format"),
        ("bulk-slots = 3\nbulk-slots = 4", "line 2: duplicate key"),
        ("bulk-slots", "line 1: "),
    ] {
        let place = Place::with(text);
        for subcommand in ["config", "serve"] {
            let said = refused(pgsluice(subcommand).arg("--config").arg(place.file()));
            assert!(said.starts_with(&format!("pgsluice: {}: ", place.file().display())), "{text}: {said}");
            assert!(said.contains(reason), "{text}: {said}");
        }
    }
    let missing = refused(pgsluice("config").args(["--config", "/nowhere/pgsluice.toml"]));
    assert!(missing.contains("/nowhere/pgsluice.toml: No such file"), "{missing}");
    let binary = refused(pgsluice("config").arg("--config").arg(Place::with(b"\xff\xfe").file()));
    assert!(binary.contains("pgsluice.toml: "), "{binary}");
    // A flag that is wrong by itself is not the file's fault.
    let place = Place::with("bulk-slots = 3\n");
    let flag = refused(pgsluice("config").args(["--pool-size", "0", "--config"]).arg(place.file()));
    assert!(flag.starts_with("error: invalid value '0' for '--pool-size"), "{flag}");
    printed(pgsluice("config").arg("--config").arg(Place::with("").file()));
}

#[tokio::test]
async fn the_service_runs_on_what_the_file_says() {
    let db = Database::create().await;
    db.sql("CREATE TABLE t (id int)").await;
    let place = Place::with(format!(
        "database-url = '{}'\nbulk-slots = 3\npool-size = 2\nmax-overflow = 0\nbody-bytes-max = 10\n",
        db.url
    ));
    let migrated = pgsluice("migrate").arg("--config").arg(place.file()).output().unwrap();
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let mut command = Service::command();
    command.arg("--config").arg(place.file());
    let service = Service::spawn(command).await;
    let world = World { db, service, http: reqwest::Client::new() };
    let scrape = Scrape::of(&world).await;
    assert_eq!(scrape.sum("pgsluice_bulk_slots", &[]), 3.0);
    assert_eq!(scrape.sum("pgsluice_oltp_pool_connections_max", &[]), 2.0);
    world.load_csv("t", "id\n1\n").await.committed(1);
    world.load_csv("t", "id\n1\n2\n3\n4\n5\n").await.problem(413, "body-too-large");
}
