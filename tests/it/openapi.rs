//! The OpenAPI document that is served is the committed one, and it names every route and every field.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::World;

fn committed() -> (String, Value) {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml")).unwrap();
    let document = serde_norway::from_str(&text).unwrap();
    (text, document)
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn the_served_document_is_the_committed_one() {
    let world = World::new().await;
    let answer = world.get("/openapi.yaml").await;
    assert_eq!(answer.json, Value::String(committed().0));
    assert_eq!(answer.content_type, "application/yaml");
}

#[test]
fn every_route_is_documented_and_every_documented_path_is_a_route() {
    let (_, document) = committed();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| keys(methods).into_iter().map(move |method| (path.clone(), method)))
        .collect();
    let routed = pgsluice::http::routes();
    let routed: BTreeSet<(String, String)> = routed
        .iter()
        .flat_map(|route| route.methods.iter().map(|method| (route.path.to_owned(), (*method).to_owned())))
        .collect();
    assert_eq!(documented, routed);
}

/// Whoever asks for a key also says what comes of a wrong one, of one that may not, of too much, and of not being able to look it up.
#[test]
fn every_route_with_a_key_documents_what_keys_come_to() {
    let (_, document) = committed();
    for route in pgsluice::http::routes().iter().filter(|route| route.roles.is_some()) {
        for method in route.methods {
            let responses = keys(&document["paths"][route.path][method]["responses"]);
            for status in ["400", "401", "403", "429", "503"] {
                assert!(responses.contains(status), "{method} {} does not document a {status}", route.path);
            }
        }
    }
}

#[tokio::test]
async fn jobs_and_problems_have_the_documented_fields() {
    let (_, document) = committed();
    let schemas = &document["components"]["schemas"];
    let world = World::new().await;
    world.db.sql("CREATE TABLE t (a int)").await;

    let job = world.load_csv("t", "a\n1\n").await;
    assert_eq!(keys(job.committed(1)), keys(&schemas["Job"]["properties"]));
    assert_eq!(keys(&job.json["timings_ms"]), keys(&schemas["Timings"]["properties"]));

    let documented = keys(&schemas["Problem"]["properties"]);
    for body in ["a\nx\n", "b\n1\n"] {
        let problem = world.load_csv("t", body).await;
        assert!(keys(&problem.json).is_subset(&documented), "{:#}", problem.json);
        for required in schemas["Problem"]["required"].as_array().unwrap() {
            assert!(problem.json.get(required.as_str().unwrap()).is_some());
        }
    }
}

#[tokio::test]
async fn documented_methods_are_answered_and_others_are_not() {
    let world = World::new().await;
    for route in pgsluice::http::routes() {
        let path = route.path.replace("{table}", "t").replace("{id}", "00000000-0000-0000-0000-000000000000");
        let deleted = world.http.delete(world.url(&path)).send().await.unwrap();
        assert_eq!(deleted.status(), 405, "{path}");
        assert_eq!(deleted.headers()["content-type"], "application/problem+json");
        let allowed = deleted.headers()["allow"].to_str().unwrap().to_ascii_lowercase();
        for method in route.methods {
            assert!(allowed.contains(method), "{path}: {allowed}");
        }
    }
    world.get("/nowhere").await.problem(404, "not-found");
}
