//! Whoever has a key sees and does what it is for, and nobody else anything at all.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::support::{Answer, Service, Trickle, World, keys, make_key};

const TABLES: &str = "CREATE TABLE t (id int); CREATE TABLE u (id int); CREATE SCHEMA app; CREATE TABLE app.t (id int)";

async fn world(flags: &[&str]) -> World {
    let world = World::with(&[&["--require-keys"], flags].concat()).await;
    world.db.sql(TABLES).await;
    world
}

fn ask(world: &World, method: Method, path: &str, key: &str) -> RequestBuilder {
    world.http.request(method, world.url(path)).bearer_auth(key)
}

async fn get(world: &World, path: &str, key: &str) -> Answer {
    Answer::of(ask(world, Method::GET, path, key).send().await.unwrap()).await
}

async fn post(world: &World, path: &str, key: &str, body: &str) -> Answer {
    let request = ask(world, Method::POST, path, key).header("Content-Type", "text/csv");
    Answer::of(request.body(body.to_owned()).send().await.unwrap()).await
}

async fn load(world: &World, table: &str, key: &str) -> Answer {
    post(world, &format!("/v1/tables/{table}/loads"), key, "id\n1\n").await
}

fn challenge(answer: &Answer) -> &str {
    answer.headers["www-authenticate"].to_str().unwrap()
}

fn id_of(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

#[tokio::test]
async fn without_a_key_every_route_but_the_open_ones_is_closed() {
    let world = world(&[]).await;
    for route in pgsluice::http::routes() {
        let path = route.path.replace("{table}", "t").replace("{id}", "00000000-0000-0000-0000-000000000000");
        let method: Method = route.methods[0].to_uppercase().parse().unwrap();
        let answer = Answer::of(world.http.request(method, world.url(&path)).send().await.unwrap()).await;
        if route.roles.is_none() {
            assert_eq!(answer.status, 200, "{path}");
            continue;
        }
        answer.problem(401, "unauthenticated");
        assert_eq!(challenge(&answer), "Bearer realm=\"pgsluice\"", "{path}");
    }
    let open: Vec<&str> = pgsluice::http::routes()
        .iter()
        .filter(|route| route.roles.is_none())
        .map(|route| route.path)
        .collect();
    assert_eq!(open, ["/healthz", "/readyz", "/openapi.yaml"]);
    let key = make_key(&world.db.url, "admin", "*.*", &[]);
    for wrong in [format!("Basic {key}"), "Bearer".to_owned(), format!("Bearer {key} {key}"), key.clone()] {
        let answer = world.http.get(world.url("/v1/jobs")).header("Authorization", wrong).send().await.unwrap();
        assert_eq!(answer.status(), 401);
    }
    let twice = world.http.get(world.url("/v1/jobs")).bearer_auth(&key).bearer_auth(&key).send().await.unwrap();
    assert_eq!(twice.status(), 400);
    // Not in the URL, where it would be written down along the way.
    world.get(&format!("/v1/jobs?access_token={key}")).await.problem(401, "unauthenticated");
    assert_eq!(get(&world, "/v1/jobs", &key).await.status, 200);
    assert_eq!(world.db.count("pgsluice.jobs").await, 0);
}

#[tokio::test]
async fn beyond_loopback_a_key_is_asked_for() {
    let world = World::new().await;
    let key = make_key(&world.db.url, "read", "*.*", &[]);
    for (flags, without_a_key) in [(&[][..], 401), (&["--allow-unauthenticated"], 200)] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pgsluice"));
        command
            .args(["serve", "--listen", "0.0.0.0:0", "--log", "warn", "--database-url", &world.db.url])
            .args(flags);
        let everywhere = Service::spawn(command).await;
        let port = everywhere.address().rsplit_once(':').unwrap().1.to_owned();
        let url = format!("http://127.0.0.1:{port}/v1/jobs");
        assert_eq!(world.http.get(&url).send().await.unwrap().status(), without_a_key);
        assert_eq!(world.http.get(&url).bearer_auth(&key).send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn with_keys_the_service_may_stand_behind_a_proxy() {
    let world = world(&[]).await;
    let key = make_key(&world.db.url, "read", "*.*", &[]);
    let named = ask(&world, Method::GET, "/v1/jobs", &key).header("Host", "loads.example");
    assert_eq!(named.send().await.unwrap().status(), 200);
    let page = ask(&world, Method::GET, "/v1/jobs", &key).header("Origin", "https://evil.example");
    assert_eq!(page.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_a_hash() {
    let world = world(&[]).await;
    let key = make_key(&world.db.url, "load", "t, app.*", &["--expires", "30d", "--pg-role", "loader", "--rate", "60"]);
    let parts: Vec<&str> = key.split('_').collect();
    assert_eq!((parts[0], parts[1].len(), parts[2].len()), ("pgsluice", 16, 64));
    let listed = keys(&world.db.url, &["list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    for shown in [id_of(&key), "a test's", "load", "public.t,app.*", "active", "loader", "60 requests/min"] {
        assert!(listed.contains(shown), "{shown}: {listed}");
    }
    assert!(!listed.contains(parts[2]));
    let hash = format!("SELECT count(*) FROM pgsluice.keys WHERE secret_sha256 = sha256(decode('{}', 'hex'))", parts[2]);
    assert_eq!(world.db.rows(&hash).await[0].get::<_, i64>(0), 1);
    let stored = world.db.texts("SELECT keys::text FROM pgsluice.keys").await;
    assert!(!stored[0].as_ref().unwrap().contains(parts[2]));
    for wrong in [
        &["create", "--name", "x", "--role", "root", "--tables", "t"][..],
        &["create", "--name", "x", "--role", "load", "--tables", "a,,b"],
        &["create", "--name", "x", "--role", "load"],
        &["create", "--name", "", "--role", "load", "--tables", "t"],
        &["create", "--name", "x", "--role", "load", "--tables", "t", "--expires", "30"],
        &["create", "--name", "x", "--role", "load", "--tables", "t", "--expires", "0d"],
        &["create", "--name", "x", "--role", "load", "--tables", "t", "--rate", "0"],
        &["revoke", "0123456789abcdef"],
    ] {
        assert!(!keys(&world.db.url, wrong).status.success(), "{wrong:?}");
    }
    assert_eq!(world.db.count("pgsluice.keys").await, 1);
}

#[tokio::test]
async fn a_revocation_holds_at_once_and_on_every_instance() {
    let world = world(&[]).await;
    let other = Service::start(&world.db.url, &["--require-keys"]).await;
    let key = make_key(&world.db.url, "read", "*.*", &[]);
    let expired = make_key(&world.db.url, "read", "*.*", &["--expires", "1h"]);
    for base in [world.url(""), other.url("")] {
        let answer = world.http.get(format!("{base}/v1/jobs")).bearer_auth(&key).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(get(&world, "/v1/jobs", &expired).await.status, 200);
    // The whole key will do, too: it is what people have at hand.
    assert!(keys(&world.db.url, &["revoke", &key]).status.success());
    world
        .db
        .sql(&format!("UPDATE pgsluice.keys SET expires_at = now() WHERE id = '{}'", id_of(&expired)))
        .await;
    for base in [world.url(""), other.url("")] {
        for (key, reason) in [(&key, "revoked"), (&expired, "expired")] {
            let answer = world.http.get(format!("{base}/v1/jobs")).bearer_auth(key).send().await.unwrap();
            let answer = Answer::of(answer).await;
            assert!(answer.problem(401, "invalid-token")["detail"].as_str().unwrap().contains(reason));
            assert_eq!(challenge(&answer), "Bearer realm=\"pgsluice\", error=\"invalid_token\"");
        }
        // Whoever does not have the secret is not told what became of the key.
        let guess = format!("pgsluice_{}_{}", id_of(&key), "0".repeat(64));
        let answer = world.http.get(format!("{base}/v1/jobs")).bearer_auth(guess).send().await.unwrap();
        assert!(
            Answer::of(answer).await.problem(401, "invalid-token")["detail"]
                .as_str()
                .unwrap()
                .contains("not a valid key")
        );
    }
    let listed = String::from_utf8(keys(&world.db.url, &["list"]).stdout).unwrap();
    assert!(listed.contains("revoked") && listed.contains("expired"), "{listed}");
}

#[tokio::test]
async fn roles_and_tables() {
    let world = world(&[]).await;
    let loader = make_key(&world.db.url, "load", "t", &[]);
    let reader = make_key(&world.db.url, "read", "t", &[]);
    let admin = make_key(&world.db.url, "admin", "*.*", &[]);
    load(&world, "t", &loader).await.committed(1);
    load(&world, "public.t", &loader).await.committed(1);
    load(&world, "app.t", &admin).await.committed(1);
    // The same answer for a table of others and for none at all.
    for table in ["u", "app.t", "nope", "t.t", "pgsluice.keys"] {
        let answer = load(&world, table, &loader).await;
        answer.problem(403, "insufficient-scope");
        assert_eq!(challenge(&answer), "Bearer realm=\"pgsluice\", error=\"insufficient_scope\"");
        get(&world, &format!("/v1/tables/{table}"), &loader).await.problem(403, "insufficient-scope");
    }
    load(&world, "t", &reader).await.problem(403, "insufficient-scope");
    assert_eq!(get(&world, "/v1/tables/t", &reader).await.status, 200);
    load(&world, "pgsluice.keys", &admin).await.problem(404, "table-not-found");
    assert_eq!(world.db.count("t").await + world.db.count("u").await, 2);
    assert_eq!(world.db.count("app.t").await, 1);
}

#[tokio::test]
async fn what_a_name_comes_to_is_what_counts() {
    let world = world(&[]).await;
    let name = &world.db.name;
    // A bare name is one in public, whatever the search path makes of it.
    world
        .db
        .sql(&format!(
            "ALTER DATABASE {name} SET search_path = app, public; CREATE TABLE public.\"app.x\" (id int)"
        ))
        .await;
    let public = make_key(&world.db.url, "load", "public.t", &[]);
    load(&world, "t", &public).await.problem(403, "insufficient-scope");
    get(&world, "/v1/tables/t", &public).await.problem(403, "insufficient-scope");
    load(&world, "public.t", &public).await.committed(1);
    let app = make_key(&world.db.url, "load", "app.*", &[]);
    load(&world, "t", &app).await.problem(403, "insufficient-scope");
    load(&world, "app.t", &app).await.committed(1);
    // A dot in a table's name leads nobody into a schema that is theirs.
    load(&world, "app.x", &app).await.problem(403, "insufficient-scope");
    assert_eq!(world.db.count("public.t").await, 1);
    assert_eq!(world.db.count("app.t").await, 1);
    assert_eq!(world.db.count("public.\"app.x\"").await, 0);
}

#[tokio::test]
async fn jobs_are_seen_and_cancelled_by_those_they_belong_to() {
    let world = world(&[]).await;
    let mine = make_key(&world.db.url, "load", "*.*", &[]);
    let theirs = make_key(&world.db.url, "load", "*.*", &[]);
    let reader = make_key(&world.db.url, "read", "t", &[]);
    let stranger = make_key(&world.db.url, "read", "u", &[]);
    let admin = make_key(&world.db.url, "admin", "u", &[]);
    let request = ask(&world, Method::POST, "/v1/tables/t/loads", &mine).header("Content-Type", "text/csv");
    let running = Trickle::begin_with(request.header("Idempotency-Key", "secret-key"));
    running.send("id\n1\n");
    world.db.wait_until("SELECT count(*) = 1 FROM pgsluice.jobs").await;
    let id = world.db.texts("SELECT id::text FROM pgsluice.jobs").await[0].clone().unwrap();
    assert_eq!(world.db.texts("SELECT principal FROM pgsluice.jobs").await[0].as_deref(), Some(id_of(&mine)));

    let seen_by = async |key: &str| {
        let job = get(&world, &format!("/v1/jobs/{id}"), key).await;
        let rejects = get(&world, &format!("/v1/jobs/{id}/rejects"), key).await;
        let mut lists = 0;
        for filter in ["", "table=t", "state=running", "idempotency_key=secret-key", "cursor=ffffffff-ffff-ffff-ffff-ffffffffffff"] {
            lists += get(&world, &format!("/v1/jobs?{filter}"), key).await.json["jobs"].as_array().unwrap().len();
        }
        match job.status.as_u16() {
            200 => rejects.problem(409, "still-running"),
            _ => {
                rejects.problem(404, "job-not-found");
                job.problem(404, "job-not-found")
            }
        };
        lists
    };
    assert_eq!(seen_by(&mine).await, 5);
    assert_eq!(seen_by(&reader).await, 5);
    assert_eq!(seen_by(&admin).await, 5);
    assert_eq!(seen_by(&theirs).await, 0);
    assert_eq!(seen_by(&stranger).await, 0);
    // What is not there is answered in the same words.
    let nowhere = id.replace(&id[..8], "00000000");
    let there_is_none = get(&world, &format!("/v1/jobs/{nowhere}"), &theirs).await.json;
    let hidden = get(&world, &format!("/v1/jobs/{id}"), &theirs).await.json;
    assert_eq!(there_is_none.to_string().replace(&nowhere, &id), hidden.to_string());

    let cancel = format!("/v1/jobs/{id}/cancel");
    for (key, status, name) in
        [(&theirs, 404, "job-not-found"), (&reader, 403, "insufficient-scope"), (&stranger, 403, "insufficient-scope")]
    {
        Answer::of(ask(&world, Method::POST, &cancel, key).send().await.unwrap())
            .await
            .problem(status, name);
    }
    assert_eq!(get(&world, &format!("/v1/jobs/{id}"), &mine).await.json["state"], "running");
    let cancelled = Answer::of(ask(&world, Method::POST, &cancel, &mine).send().await.unwrap()).await;
    assert_eq!(cancelled.json["state"], "cancelled");
    running.answer().await.problem(409, "cancelled");
}

#[tokio::test]
async fn everybody_has_idempotency_keys_of_their_own() {
    let world = world(&[]).await;
    let (mine, theirs) = (make_key(&world.db.url, "load", "t", &[]), make_key(&world.db.url, "load", "t", &[]));
    let send = async |key: &str, body: &str| {
        let request = ask(&world, Method::POST, "/v1/tables/t/loads", key).header("Content-Type", "text/csv");
        Answer::of(request.header("Idempotency-Key", "k").body(body.to_owned()).send().await.unwrap()).await
    };
    let first = send(&mine, "id\n1\n").await;
    let other = send(&theirs, "id\n2\n").await;
    assert_ne!(first.committed(1)["id"], other.committed(1)["id"]);
    let again = send(&mine, "id\n1\n").await;
    assert_eq!((&again.json["id"], &again.json["replayed"]), (&first.json["id"], &Value::Bool(true)));
    assert_eq!(world.db.count("t").await, 2);
}

#[tokio::test]
async fn forms_and_preflights_of_web_pages_come_to_nothing() {
    let world = World::new().await;
    world.db.sql(TABLES).await;
    let running = Trickle::begin(&world, "t");
    running.send("id\n1\n");
    let id = world.wait_for_job(|job| job["state"] == "running").await["id"].as_str().unwrap().to_owned();
    for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let cancel = world.http.post(world.url(&format!("/v1/jobs/{id}/cancel"))).header("Content-Type", media).body("x");
        Answer::of(cancel.send().await.unwrap()).await.problem(415, "unsupported-media-type");
        world.load("t", media, "id\n1\n").await.problem(415, "unsupported-media-type");
    }
    for (origin, status) in [("https://evil.example".to_owned(), 403), (format!("http://{}", world.service.address()), 405)] {
        let preflight = world
            .http
            .request(Method::OPTIONS, world.url("/v1/tables/t/loads"))
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type");
        let answer = preflight.send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert!(!answer.headers().keys().any(|name| name.as_str().starts_with("access-control-")));
    }
    let cross = world.http.post(world.url(&format!("/v1/jobs/{id}/cancel"))).header("Sec-Fetch-Site", "cross-site");
    Answer::of(cross.send().await.unwrap()).await.problem(403, "foreign-origin");
    running.finish().await.committed(1);
}

/// The acceptance: many requests with keys that are worth nothing, or not this, all routes mixed; what belongs to somebody else stays with
/// them, and no secret is in the log even where everything is written to it.
#[tokio::test]
async fn ten_thousand_requests_with_keys_of_no_use() {
    const REQUESTS: usize = 10_000;
    const MARK: &str = "hush7f3a";
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut world = World::new().await;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pgsluice"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--require-keys", "--database-url", &world.db.url, "--log", "trace"]);
    command.stderr(std::fs::File::create(&log).unwrap());
    world.service = Service::spawn(command).await;
    world.db.sql(&format!("CREATE TABLE {MARK} (id int)")).await;
    let url = world.db.url.clone();
    let owner = make_key(&url, "load", MARK, &[]);
    let body = format!("id\n1\n{MARK}\n");
    let request = ask(&world, Method::POST, &format!("/v1/tables/{MARK}/loads?on_error=skip"), &owner);
    let request = request.header("Content-Type", "text/csv").header("Idempotency-Key", MARK);
    let job = Answer::of(request.body(body).send().await.unwrap()).await;
    let id = job.committed(1)["id"].as_str().unwrap().to_owned();

    let foreign = make_key(&url, "load", "t", &[]);
    let reader = make_key(&url, "read", "t", &[]);
    let (expired, revoked) = (make_key(&url, "admin", "*.*", &["--expires", "1h"]), make_key(&url, "admin", "*.*", &[]));
    world
        .db
        .sql(&format!("UPDATE pgsluice.keys SET expires_at = now() WHERE id = '{}'", id_of(&expired)))
        .await;
    assert!(keys(&url, &["revoke", id_of(&revoked)]).status.success());
    let secret = owner.rsplit_once('_').unwrap().1;
    let flipped = format!("{}{}", &owner[..owner.len() - 1], if owner.ends_with('0') { '1' } else { '0' });
    let unknown = format!("pgsluice_{}_{secret}", "0".repeat(16));
    let bad = [flipped, unknown, format!("pgsluice_{}_{secret}", id_of(&foreign)), owner.to_uppercase(), expired.clone(), revoked.clone()];
    let keys: Vec<String> = bad.into_iter().chain([foreign.clone(), reader.clone()]).collect();

    let paths = [
        (Method::GET, format!("/v1/jobs/{id}")),
        (Method::GET, format!("/v1/jobs/{id}/rejects")),
        (Method::GET, "/v1/jobs".to_owned()),
        (Method::GET, format!("/v1/jobs?idempotency_key={MARK}")),
        (Method::POST, format!("/v1/jobs/{id}/cancel")),
        (Method::GET, format!("/v1/tables/{MARK}")),
        (Method::POST, format!("/v1/tables/{MARK}/loads")),
    ];
    let world = &world;
    let requests = (0..REQUESTS).map(|number| {
        let key = &keys[number % keys.len()];
        let (method, path) = &paths[number / keys.len() % paths.len()];
        let known = *key == foreign || *key == reader;
        async move {
            let request = ask(world, method.clone(), path, key).header("Content-Type", "text/csv");
            let request = if path.ends_with("/loads") { request.body("id\n1\n") } else { request };
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            // What the request itself says may come back with it.
            let text = answer.text().await.unwrap().replace(path.split('/').nth(3).unwrap_or("?"), "");
            assert!(!text.contains(MARK), "{method} {path}: {text}");
            match status {
                401 => assert!(!known, "{method} {path}"),
                200 => assert!(known && text == r#"{"jobs":[],"next_cursor":null}"#, "{method} {path}: {text}"),
                403 | 404 => assert!(known, "{method} {path}"),
                other => panic!("{method} {path}: {other}"),
            }
        }
    });
    futures::stream::iter(requests).buffer_unordered(32).collect::<Vec<()>>().await;
    assert_eq!(world.db.count(MARK).await, 1);
    assert_eq!(world.db.count("pgsluice.jobs").await, 1);

    let log = std::fs::read_to_string(&log).unwrap();
    assert!(
        log.contains("TRACE") && log.contains("denied") && log.contains(id_of(&expired)),
        "the log says nothing"
    );
    for key in [&owner, &foreign, &reader, &expired, &revoked] {
        assert!(!log.contains(key.rsplit_once('_').unwrap().1), "a secret is in the log");
    }
}

/// Questions of the same sight that come while others are under way are put together.
#[tokio::test]
async fn whoever_asks_together_with_others_sees_only_their_own() {
    let world = world(&[]).await;
    let keys = ["t", "u"].map(|table| make_key(&world.db.url, "load", table, &[]));
    let mut jobs = Vec::new();
    for (table, key) in ["t", "u"].into_iter().zip(&keys) {
        for _ in 0..5 {
            jobs.push((load(&world, table, key).await.committed(1).clone(), key));
        }
    }
    // Nobody has an answer before all have asked.
    let other = world.db.connect().await;
    other.batch_execute("BEGIN; LOCK TABLE pgsluice.jobs IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let (world, jobs, keys) = (&world, &jobs, &keys);
    let asking = (0..300).map(|number| async move {
        let ((job, owner), key) = (&jobs[number % jobs.len()], &keys[number / jobs.len() % 2]);
        let is_known = number % 7 != 0;
        let id = if is_known { job["id"].as_str().unwrap() } else { "00000000-0000-0000-0000-000000000000" };
        let request = ask(world, Method::GET, &format!("/v1/jobs/{id}"), key);
        if number % 3 == 0 {
            // These are gone before.
            assert!(request.timeout(Duration::from_millis(400)).send().await.is_err());
            return;
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        if is_known && *owner == key {
            assert_eq!((answer.status.as_u16(), &answer.json), (200, job));
        } else {
            answer.problem(404, "job-not-found");
        }
    });
    let release = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        other.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(futures::future::join_all(asking), release);
}
