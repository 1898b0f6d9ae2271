//! Without a database the service brings its own: private, kept between runs, stopped in order, and taken over after a crash.

use std::path::Path;

use crate::support::{Service, World, run, server_pids};

async fn start(data_dir: &Path) -> Service {
    let mut command = Service::command();
    command.arg("--data-dir").arg(data_dir);
    command.env_remove("PGSLUICE_DATABASE_URL");
    Service::spawn(command).await
}

fn psql(data_dir: &Path, sql: &str) -> String {
    let sockets = data_dir.join("run");
    let mut psql = std::process::Command::new("psql");
    psql.args(["-XAtq", "-h", sockets.to_str().unwrap(), "-U", "postgres", "-c", sql, "pgsluice"]);
    run(&mut psql).trim().to_owned()
}

/// A data directory, removed at the end with whatever server may still run in it.
struct DataDir(tempfile::TempDir);

impl DataDir {
    fn new() -> DataDir {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        DataDir(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn server_runs(&self) -> bool {
        !server_pids(self.path().join("cluster").to_str().unwrap()).is_empty()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(self.path().join("cluster/postmaster.pid")) {
            let pid = pid.lines().next().unwrap_or_default().to_owned();
            let _ = std::process::Command::new("sh").args(["-c", "kill -s QUIT \"$0\"", &pid]).status();
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
    }
}

#[tokio::test]
async fn the_cluster_keeps_its_data_and_stops_with_the_service() {
    let _ = crate::support::Database::create().await;
    let dir = DataDir::new();
    let mut service = start(dir.path()).await;
    assert_eq!(psql(dir.path(), "SHOW listen_addresses"), "");
    psql(dir.path(), "CREATE TABLE t (a int)");
    let url = service.url("/v1/tables/t/loads?format=csv");
    let status = reqwest::Client::new().post(&url).body("a\n1\n2\n").send().await.unwrap().status();
    assert_eq!(status, 201);
    service.signal("INT");
    assert_eq!(service.ended().await, Some(0));
    assert!(!dir.server_runs());

    let mut service = start(dir.path()).await;
    assert_eq!(psql(dir.path(), "SELECT count(*) FROM t"), "2");

    // Killed, it leaves the server behind; the next one takes it over.
    service.kill();
    assert!(dir.server_runs());
    let mut service = start(dir.path()).await;
    assert_eq!(psql(dir.path(), "SELECT count(*) FROM t"), "2");
    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));
    assert!(!dir.server_runs());
}

#[tokio::test]
async fn a_data_directory_has_one_service() {
    let _ = crate::support::Database::create().await;
    let dir = DataDir::new();
    let mut service = start(dir.path()).await;
    let mut second = Service::command();
    let second = second.arg("--data-dir").arg(dir.path()).env_remove("PGSLUICE_DATABASE_URL").output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another pgsluice"));
    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));
}

#[tokio::test]
async fn a_start_that_cannot_be() {
    let refused = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pgsluice"));
        let output = command.arg("serve").args(arguments).env_remove("DATABASE_URL").output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let nowhere = refused(&["--database-url", "postgresql://u:secret@127.0.0.1:1/x"]);
    assert!(nowhere.contains("onnect") && !nowhere.contains("secret"), "{nowhere}");
    let no_url = refused(&["--database-url", "mysql://u:secret@h/x"]);
    assert!(no_url.contains("URL") && !no_url.contains("secret"), "{no_url}");
    let both = refused(&["--allow-unauthenticated", "--require-keys", "--database-url", "postgresql://h/x"]);
    assert!(both.contains("--allow-unauthenticated") && both.contains("--require-keys"), "{both}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::new().await;
    let address = taken.local_addr().unwrap().to_string();
    let busy = refused(&["--listen", &address, "--database-url", &world.db.url]);
    assert!(busy.contains("cannot listen on"), "{busy}");
}

#[tokio::test]
async fn a_bad_row_is_named_whatever_language_the_server_speaks() {
    let dir = DataDir::new();
    let mut command = Service::command();
    command.arg("--data-dir").arg(dir.path()).env("LANGUAGE", "ja").env_remove("PGSLUICE_DATABASE_URL");
    let mut service = Service::spawn(command).await;
    psql(dir.path(), "ALTER DATABASE pgsluice SET lc_messages = 'C.UTF-8'");
    psql(dir.path(), "CREATE TABLE t (a int CHECK (a <> 3), b point)");
    for (body, line, column) in [("a,b\n1,\n3,\n", 3, None), ("a,b\n1,\n2,x\n", 3, Some("b"))] {
        let answer = reqwest::Client::new()
            .post(service.url("/v1/tables/t/loads?format=csv"))
            .body(body)
            .send()
            .await
            .unwrap();
        let problem: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!((problem["line"].as_u64(), problem["column"].as_str()), (Some(line), column), "{problem:#}");
    }
    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));
}
