//! One table on three servers: its partitions are foreign tables (`postgres_fdw`). What of a load's atomicity holds there, and what does not
//! (docs/SCALING.md).

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray};
use tpchgen::csv::LineItemCsv;
use tpchgen::dates::TPCHDate;
use tpchgen::generators::{LineItem, LineItemGenerator};

use crate::support::arrow::{STREAM, batch, stream};
use crate::support::{Database, Link, Proxy, Server, Service, Trickle, World};

/// How many servers have a part of the table.
const SERVERS: usize = 3;

const COLUMNS: &str = "l_orderkey int8 NOT NULL, l_partkey int8 NOT NULL, l_suppkey int8 NOT NULL, l_linenumber int4 NOT NULL, \
     l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL, \
     l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, \
     l_commitdate date NOT NULL, l_receiptdate date NOT NULL, l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL, \
     l_comment varchar(44) NOT NULL";

/// A table `lineitem` in three parts, by hash of the order, and a service before the server that knows of all three.
struct Parts {
    world: World,
    /// those that have the parts
    servers: Vec<Server>,
    /// on the way to each of them
    proxies: Vec<Proxy>,
    /// that of the table itself; it would go with its handle
    _coordinator: Server,
}

impl Parts {
    async fn new() -> Parts {
        let coordinator = Server::start().await;
        let db = coordinator.database().await;
        db.sql(&format!(
            "CREATE EXTENSION postgres_fdw; CREATE TABLE lineitem ({COLUMNS}) PARTITION BY HASH (l_orderkey)"
        ))
        .await;
        let (mut servers, mut proxies) = (Vec::new(), Vec::new());
        for number in 0..SERVERS {
            let server = Server::start().await;
            let part = server.database().await;
            part.sql(&format!("CREATE TABLE part ({COLUMNS}, PRIMARY KEY (l_orderkey, l_linenumber))")).await;
            let proxy = Proxy::before(&part.url).await.unwrap();
            db.sql(&attach(number, &proxy, &part)).await;
            servers.push(server);
            proxies.push(proxy);
        }
        let service = Service::start(&db.url, &["--allow-oversubscription"]).await;
        Parts { world: World::of(db, service), servers, proxies, _coordinator: coordinator }
    }

    /// How many rows each server has, asked itself.
    async fn counts(&self) -> Vec<i64> {
        let mut counts = Vec::new();
        for server in &self.servers {
            counts.push(server.database().await.count("part").await);
        }
        counts
    }

    /// Nothing of any load is on any server, nor in the ledger.
    async fn are_empty(&self) {
        assert_eq!(self.counts().await, [0; SERVERS]);
        assert_eq!(self.world.db.count("pgsluice.ledger").await, 0);
    }

    /// Sets an option of all foreign servers.
    async fn set(&self, option: &str) {
        for number in 0..SERVERS {
            self.world.db.sql(&format!("ALTER SERVER part{number} OPTIONS ({option})")).await;
        }
    }

    /// Of each server in turn the link is cut when it is told to commit: how many of them keep rows, in ascending order.
    async fn kept_by_how_many(&self) -> Vec<usize> {
        let mut kept = Vec::new();
        for proxy in &self.proxies {
            proxy.set_when_sent("COMMIT TRANSACTION", Link::Cut);
            let answer = self.world.load_csv("lineitem", csv()).await;
            proxy.forget();
            // Not even where nothing was kept: PostgreSQL does not tell.
            let problem = answer.problem(500, "partial-commit");
            assert_eq!((problem["sqlstate"].as_str(), answer.headers.get("retry-after")), (Some("08006"), None));
            let job = self.world.job(problem["job_id"].as_str().unwrap()).await;
            assert_eq!((job["state"].as_str(), job["reason"].as_str()), (Some("failed"), Some("partial-commit")));
            assert_eq!(self.world.db.count("pgsluice.ledger").await, 0);
            kept.push(self.counts().await.into_iter().filter(|count| *count > 0).count());
            self.everywhere("TRUNCATE part").await;
        }
        kept.sort_unstable();
        kept
    }

    /// Runs this on each of the servers that have a part.
    async fn everywhere(&self, sql: &str) {
        for server in &self.servers {
            server.database().await.sql(sql).await;
        }
    }
}

/// The foreign server and the partition that is on it.
fn attach(number: usize, proxy: &Proxy, part: &Database) -> String {
    let url = proxy.url(&part.url);
    let (_, port) = url.rsplit_once(':').unwrap();
    let (port, _) = port.split_once('/').unwrap();
    format!(
        "CREATE SERVER part{number} FOREIGN DATA WRAPPER postgres_fdw \
           OPTIONS (host '127.0.0.1', port '{port}', dbname '{}', batch_size '1000', connect_timeout '5'); \
         CREATE USER MAPPING FOR postgres SERVER part{number} OPTIONS (user 'postgres', password_required 'false'); \
         CREATE FOREIGN TABLE lineitem_{number} PARTITION OF lineitem \
           FOR VALUES WITH (MODULUS {SERVERS}, REMAINDER {number}) SERVER part{number} OPTIONS (table_name 'part')",
        part.name
    )
}

/// Six thousand rows of TPC-H.
fn items() -> Vec<LineItem<'static>> {
    LineItemGenerator::new(0.001, 1, 1).iter().collect()
}

fn header() -> String {
    let names = COLUMNS.split(", ").map(|column| column.split(' ').next().unwrap());
    format!("{}\n", names.collect::<Vec<_>>().join(","))
}

fn lines(items: Vec<LineItem<'static>>) -> String {
    items.into_iter().map(|item| format!("{}\n", LineItemCsv::new(item))).collect()
}

fn csv() -> String {
    header() + &lines(items())
}

fn batch_of(items: &[LineItem<'static>]) -> RecordBatch {
    let int8 = |of: fn(&LineItem<'_>) -> i64| -> ArrayRef { Arc::new(items.iter().map(of).collect::<Int64Array>()) };
    let cents = |of: fn(&LineItem<'_>) -> i64| -> ArrayRef {
        let values: Decimal128Array = items.iter().map(|item| i128::from(of(item))).collect::<Vec<_>>().into();
        Arc::new(values.with_precision_and_scale(15, 2).unwrap())
    };
    let date = |of: fn(&LineItem<'_>) -> TPCHDate| -> ArrayRef {
        Arc::new(Date32Array::from_iter_values(items.iter().map(|item| of(item).to_unix_epoch())))
    };
    let text =
        |of: fn(&LineItem<'static>) -> &'static str| -> ArrayRef { Arc::new(items.iter().map(of).map(Some).collect::<StringArray>()) };
    batch([
        ("l_orderkey", int8(|item| item.l_orderkey)),
        ("l_partkey", int8(|item| item.l_partkey)),
        ("l_suppkey", int8(|item| item.l_suppkey)),
        ("l_linenumber", Arc::new(items.iter().map(|item| item.l_linenumber).collect::<Int32Array>())),
        ("l_quantity", cents(|item| item.l_quantity * 100)),
        ("l_extendedprice", cents(|item| item.l_extendedprice.into_inner())),
        ("l_discount", cents(|item| item.l_discount.into_inner())),
        ("l_tax", cents(|item| item.l_tax.into_inner())),
        ("l_returnflag", text(|item| item.l_returnflag)),
        ("l_linestatus", text(|item| item.l_linestatus)),
        ("l_shipdate", date(|item| item.l_shipdate)),
        ("l_commitdate", date(|item| item.l_commitdate)),
        ("l_receiptdate", date(|item| item.l_receiptdate)),
        ("l_shipinstruct", text(|item| item.l_shipinstruct)),
        ("l_shipmode", text(|item| item.l_shipmode)),
        ("l_comment", text(|item| item.l_comment)),
    ])
}

#[tokio::test]
async fn lineitem_is_loaded_whole_in_each_format() {
    let parts = Parts::new().await;
    let world = &parts.world;
    let rows = items().len() as u64;
    // What the same bytes come to where nothing is elsewhere.
    world.db.sql(&format!("CREATE TABLE here ({COLUMNS})")).await;
    world.load_csv("here", csv()).await.committed(rows);

    let bodies = [("text/csv", csv().into_bytes()), (STREAM, stream(&[batch_of(&items())]))];
    for (content_type, body) in bodies {
        world.load("lineitem", content_type, body).await.committed(rows);
        let counts = parts.counts().await;
        assert_eq!(counts.iter().sum::<i64>(), rows as i64);
        assert!(counts.iter().all(|count| *count > 1000), "{counts:?}");
        for (one, other) in [("lineitem", "here"), ("here", "lineitem")] {
            let missing = format!("(TABLE {one} EXCEPT ALL TABLE {other}) AS missing");
            assert_eq!(world.db.count(&missing).await, 0, "{content_type}: rows of {one} that are not in {other}");
        }
        parts.everywhere("TRUNCATE part").await;
    }
    assert_eq!(world.db.count("pgsluice.ledger").await, 3);
    let table = world.get("/v1/tables/lineitem").await.json;
    let columns = table["columns"].as_array().unwrap();
    assert_eq!(columns.len(), 16);
    assert!(columns.iter().all(|column| column["encoding"] == "binary"), "{table:#}");
}

#[tokio::test]
async fn a_server_killed_in_mid_load_takes_everything_back() {
    let mut parts = Parts::new().await;
    let mut items = items();
    let rest = items.split_off(items.len() / 2);
    let load = Trickle::begin(&parts.world, "lineitem");
    load.send(header() + &lines(items));
    for server in &parts.servers {
        // It has rows of the load, which nobody else sees yet.
        let part = server.database().await;
        part.wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'postgres_fdw' AND backend_xid IS NOT NULL")
            .await;
    }
    parts.servers[1].crash().await;
    load.send(lines(rest));
    let answer = load.finish().await;
    let problem = answer.problem(503, "database-unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("nothing was loaded"), "{problem:#}");
    assert_eq!(parts.world.job(problem["job_id"].as_str().unwrap()).await["state"], "failed");

    let body = csv();
    parts.world.load_csv("lineitem", body.clone()).await.problem(503, "database-unavailable");
    parts.servers[1].restart().await;
    parts.are_empty().await;
    let rows = self::items().len();
    parts.world.load_csv("lineitem", body).await.committed(rows as u64);
    assert_eq!(parts.counts().await.iter().sum::<i64>(), rows as i64);
}

#[tokio::test]
async fn a_row_that_another_server_refuses_is_named() {
    let parts = Parts::new().await;
    let world = &parts.world;
    let body = csv();
    let twice = body.lines().nth(1000).unwrap();
    let body = format!("{body}{twice}\n");
    let rows = items().len() as u64;

    let refused = async || {
        let answer = world.load_csv("lineitem", body.clone()).await;
        assert_eq!(answer.problem(422, "bad-row")["sqlstate"], "23505");
        parts.are_empty().await;
        answer.json["line"].as_u64()
    };
    // A batch has no line. Before PostgreSQL 16 there are none for COPY.
    let batches = world.db.texts("SELECT (current_setting('server_version_num')::int >= 160000)::text").await[0] == Some("true".to_owned());
    assert_eq!(refused().await, (!batches).then_some(rows + 2));
    parts.set("SET batch_size '1'").await;
    assert_eq!(refused().await, Some(rows + 2));

    parts.set("SET batch_size '1000'").await;
    // Savepoints are set on all the servers, too.
    let job = world.load_csv("lineitem?on_error=skip", body).await.committed(rows).clone();
    assert_eq!(job["rows_rejected"], 1);
    let rejects = world.get(job["rejects_url"].as_str().unwrap()).await.json;
    assert_eq!(
        (rejects["line"].as_u64(), rejects["sqlstate"].as_str()),
        (Some(rows + 2), Some("23505")),
        "{rejects:#}"
    );
    assert_eq!(parts.counts().await.iter().sum::<i64>(), rows as i64);
}

/// What `postgres_fdw` does not promise, so that nobody believes it does: the servers commit one after the other. One that fails at that,
/// whatever the reason, takes back itself, those behind it and the table's own server with the ledger; those before it keep their rows.
#[tokio::test]
async fn a_server_that_fails_at_its_commit_is_not_undone_on_those_before_it() {
    let parts = Parts::new().await;
    // Whichever is first.
    assert_eq!(parts.kept_by_how_many().await, [0, 1, 2]);
}

/// With `parallel_commit` all have been told by then: the window is short, and what falls into it is all but one.
#[tokio::test]
async fn servers_that_commit_at_the_same_time_all_keep_their_rows_when_one_fails() {
    let parts = Parts::new().await;
    parts.set("ADD parallel_commit 'true'").await;
    assert_eq!(parts.kept_by_how_many().await, [2, 2, 2]);
}

/// Nor is what is put off until COMMIT there.
#[tokio::test]
async fn a_constraint_that_is_deferred_on_another_server_comes_too_late() {
    let parts = Parts::new().await;
    let mut kept = Vec::new();
    for server in &parts.servers {
        let part = server.database().await;
        part.sql(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'too late' USING ERRCODE = '23514'; END$$; \
             CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON part DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
        let answer = parts.world.load_csv("lineitem", csv()).await;
        let problem = answer.problem(500, "partial-commit");
        assert_eq!(problem["sqlstate"], "23514");
        assert!(problem["detail"].as_str().unwrap().contains("too late"), "{problem:#}");
        kept.push(parts.counts().await.into_iter().filter(|count| *count > 0).count());
        part.sql("DROP TRIGGER refuse ON part").await;
        parts.everywhere("TRUNCATE part").await;
    }
    kept.sort_unstable();
    assert_eq!(kept, [0, 1, 2]);
}

/// The way out that docs/SCALING.md shows: a key on each server keeps the load that is sent again from doubling what was kept, and turning
/// away its duplicates loads just what is missing.
#[tokio::test]
async fn what_was_kept_is_completed_and_not_doubled_by_the_next_load() {
    let parts = Parts::new().await;
    let rows = items().len() as i64;
    let mut kept = 0;
    for proxy in &parts.proxies {
        proxy.set_when_sent("COMMIT TRANSACTION", Link::Cut);
        parts.world.load_csv("lineitem", csv()).await.problem(500, "partial-commit");
        proxy.forget();
        kept = parts.counts().await.iter().sum();
        if kept > 0 {
            break;
        }
    }
    assert!(kept > 0 && kept < rows, "{kept} of {rows}");
    let refused = parts.world.load_csv("lineitem", csv()).await;
    assert_eq!(refused.problem(422, "bad-row")["sqlstate"], "23505");
    let completed = parts.world.load_csv("lineitem?on_error=skip&reject_limit=10000", csv()).await;
    completed.committed((rows - kept) as u64);
    assert_eq!(completed.json["rows_rejected"], kept);
    assert_eq!(parts.counts().await.iter().sum::<i64>(), rows);
}
