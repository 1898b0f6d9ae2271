//! What a table is, as a client is told before it sends anything.

use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn a_table_says_of_each_column_how_it_is_loaded() {
    let world = World::new().await;
    world
        .db
        .sql(
            "CREATE DOMAIN code AS varchar(3) NOT NULL; \
             CREATE TABLE \"My table\" (id int GENERATED ALWAYS AS IDENTITY, code code, amount numeric(10,2) DEFAULT 9.5, \
                                      twice int GENERATED ALWAYS AS (1 + 1) STORED, spot point, tags text[])",
        )
        .await;
    let answer = world.get("/v1/tables/public.My%20table").await;
    let column = |name, type_name, nullable, default, identity, generated, encoding| {
        json!({"name": name, "type": type_name, "nullable": nullable, "default": default, "identity": identity,
               "generated": generated, "encoding": encoding})
    };
    let none = json!(null);
    let expected = json!({"table": "public.My table", "columns": [
        column("id", "integer", false, none.clone(), json!("ALWAYS"), false, json!("binary")),
        column("code", "code", false, none.clone(), none.clone(), false, json!("binary")),
        column("amount", "numeric(10,2)", true, json!("9.5"), none.clone(), false, json!("binary")),
        column("twice", "integer", true, none.clone(), none.clone(), true, none.clone()),
        column("spot", "point", true, none.clone(), none.clone(), false, json!("text")),
        column("tags", "text[]", true, none.clone(), none, false, json!("binary")),
    ]});
    assert_eq!(answer.json, expected);
    assert_eq!(answer.status, 200);
    // COPY takes a value for an identity column, whatever it says.
    world.load_csv("My table", "id,code,tags\n7,abc,\"{a,b}\"\n").await.committed(1);
    assert_eq!(world.db.count("\"My table\" WHERE id = 7 AND tags = ARRAY['a', 'b']").await, 1);
}

#[tokio::test]
async fn tables_that_there_are_none_of() {
    let world = World::new().await;
    world.db.sql("CREATE VIEW v AS SELECT 1 AS a").await;
    world.get("/v1/tables/nope").await.problem(404, "table-not-found");
    world.get("/v1/tables/v").await.problem(422, "unsupported-table");
    world.get("/v1/tables/pg_catalog.pg_class").await.problem(404, "table-not-found");
    world.get("/v1/tables/v?x=1").await.problem(400, "invalid-option");
    world.get("/v1/tables/a%00b").await.problem(404, "table-not-found");
}
