//! Whoever has a token of the OpenID provider is let in as its claims say; and no other token is worth anything (RFC 8725).

use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::tokens::{AUDIENCE, ISSUER, Provider, Signer, base64url, claims, seconds_from_now, unsigned};
use crate::support::{Answer, Database, Events, Service, Trickle, World, make_key};

const TABLES: &str = "CREATE TABLE t (id int); CREATE TABLE u (id int); CREATE SCHEMA app; CREATE TABLE app.t (id int)";

async fn world(provider: &Provider, flags: &[&str]) -> World {
    let own = provider.flags();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let world = World::with(&[&own, flags].concat()).await;
    world.db.sql(TABLES).await;
    world
}

async fn get(world: &World, path: &str, token: &str) -> Answer {
    Answer::of(world.http.get(world.url(path)).bearer_auth(token).send().await.unwrap()).await
}

async fn load(world: &World, table: &str, token: &str) -> Answer {
    let request = world.post(table, "text/csv").bearer_auth(token);
    Answer::of(request.body("id\n1\n").send().await.unwrap()).await
}

/// Holds that the token is not accepted, and why.
async fn refused(world: &World, token: &str, reason: &str) {
    let answer = get(world, "/v1/jobs", token).await;
    let detail = answer.problem(401, "invalid-token")["detail"].as_str().unwrap();
    assert!(detail.contains(reason), "{detail:?} is not {reason:?}");
    assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"pgsluice\", error=\"invalid_token\"");
    for part in token.split('.').filter(|part| part.len() > 20) {
        assert!(!answer.json.to_string().contains(part), "the answer has the token in it: {detail}");
    }
}

async fn accepted(world: &World, token: &str) {
    let answer = get(world, "/v1/jobs", token).await;
    assert_eq!(answer.status, 200, "{:#}", answer.json);
}

#[tokio::test]
async fn every_algorithm_by_its_own_key_and_by_no_other() {
    let provider = Provider::new();
    let (rsa, p256, p384) = (Signer::rsa(2048), Signer::p256(), Signer::p384());
    let mut bound = rsa.jwk("bound");
    bound["alg"] = json!("PS384");
    bound["use"] = json!("sig");
    bound["key_ops"] = json!(["verify"]);
    let keys = [rsa.jwk("rsa"), p256.jwk("p256"), p384.jwk("p384"), provider.signer.jwk("ed"), bound];
    provider.publish(&keys);
    let world = world(&provider, &[]).await;
    let algorithms = [
        (&rsa, "rsa", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        (&p256, "p256", &["ES256"]),
        (&p384, "p384", &["ES384"]),
        (&provider.signer, "ed", &["EdDSA"]),
        (&rsa, "bound", &["PS384"]),
    ];
    let all: Vec<&str> = algorithms.iter().flat_map(|(_, _, algorithms)| *algorithms).copied().collect();
    for (signer, kid, algorithms) in algorithms {
        for alg in &all {
            let header = |kid: &str| json!({ "alg": alg, "kid": kid });
            let token = signer.token(&header(kid), &claims("ann", json!({})));
            if !algorithms.contains(alg) {
                refused(&world, &token, "not one for the token's alg").await;
                continue;
            }
            accepted(&world, &token).await;
            // Signed by somebody else, changed afterwards, and not signed at all.
            let forged = stranger(signer).token(&header(kid), &claims("ann", json!({})));
            refused(&world, &forged, "signature is wrong").await;
            let [head, _, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
            let other = base64url(claims("bob", json!({})).to_string().as_bytes());
            refused(&world, &format!("{head}.{other}.{signature}"), "signature is wrong").await;
            refused(&world, &format!("{}.", unsigned(&header(kid), &claims("ann", json!({})))), "signature is wrong").await;
        }
    }
}

/// Of the same kind.
fn stranger(signer: &Signer) -> Signer {
    match signer {
        Signer::Rsa(_) => Signer::rsa(2048),
        Signer::P256(_) => Signer::p256(),
        Signer::P384(_) => Signer::p384(),
        Signer::Ed25519(_) => Signer::ed25519(),
    }
}

#[tokio::test]
async fn a_header_that_asks_for_anything_else_is_refused() {
    let provider = Provider::new();
    let world = world(&provider, &[]).await;
    let all_right = claims("ann", json!({}));
    let token = |header: Value| provider.signer.token(&header, &all_right);
    // No signature, in every spelling.
    for alg in ["none", "None", "NONE", "", "ES512", "Ed25519"] {
        let header = json!({ "alg": alg, "kid": "ed" });
        refused(&world, &token(header.clone()), "alg is not one").await;
        refused(&world, &format!("{}.", unsigned(&header, &all_right)), "alg is not one").await;
    }
    // The public key, which everybody has, taken for a secret.
    let jwk = provider.signer.jwk("ed");
    let public = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, jwk["x"].as_str().unwrap()).unwrap();
    for secret in [public, jwk["x"].as_str().unwrap().as_bytes().to_vec(), jwk.to_string().into_bytes(), Vec::new()] {
        for kid in [json!("ed"), Value::Null] {
            let message = unsigned(&json!({ "alg": "HS256", "kid": kid }), &all_right);
            let signed = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret), message.as_bytes());
            refused(&world, &format!("{message}.{}", base64url(signed.as_ref())), "not one for the token's alg").await;
        }
    }
    for (header, reason) in [
        (json!({ "alg": "EdDSA", "kid": "other" }), "no key with the token's kid"),
        (json!({ "alg": "EdDSA", "kid": "" }), "no key with the token's kid"),
        (json!({ "alg": "EdDSA", "kid": 7 }), "header cannot be read"),
        (json!({ "alg": "EdDSA", "kid": "ed", "crit": ["exp"] }), "crit"),
        (json!({ "alg": "EdDSA", "kid": "ed", "crit": ["b64"], "b64": false }), "crit"),
        (json!({ "alg": "EdDSA", "kid": "ed", "crit": [] }), "crit"),
        (json!({ "alg": "EdDSA", "kid": "ed", "typ": "dpop+jwt" }), "typ"),
        (json!({ "alg": "EdDSA", "kid": "ed", "cty": "JWT" }), "another token"),
        (json!({ "alg": "EdDSA", "kid": "ed", "enc": "A128GCM" }), "encrypted"),
        (json!({ "kid": "ed" }), "header cannot be read"),
        (json!([]), "header cannot be read"),
    ] {
        refused(&world, &token(header), reason).await;
    }
    refused(&world, &format!("{}.a.b", token(json!({ "alg": "EdDSA", "kid": "ed" }))), "encrypted").await;
    // Keys that a token brings along, or points at, are nobody's.
    let stranger = Signer::ed25519();
    for (kid, reason) in [("ed", "signature is wrong"), ("mine", "no key with the token's kid")] {
        let header =
            json!({ "alg": "EdDSA", "kid": kid, "jwk": stranger.jwk(kid), "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/" });
        refused(&world, &stranger.token(&header, &all_right), reason).await;
    }
    // And do no harm beside a signature that is right.
    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        accepted(&world, &token(json!({ "alg": "EdDSA", "kid": "ed", "typ": typ, "jku": "http://127.0.0.1:1/" }))).await;
    }
    // Without a kid there is only one key that it can be.
    accepted(&world, &token(json!({ "alg": "EdDSA" }))).await;
    refused(&world, &stranger.token(&json!({ "alg": "EdDSA" }), &all_right), "signature is wrong").await;
}

#[tokio::test]
async fn claims_that_are_not_all_right_are_refused() {
    let provider = Provider::new();
    let world = world(&provider, &[]).await;
    let at = seconds_from_now;
    for (further, reason) in [
        (json!({ "exp": at(-40) }), "expired"),
        (json!({ "exp": 0 }), "expired"),
        (json!({ "exp": null }), "no exp"),
        (json!({ "exp": at(600).to_string() }), "no exp"),
        (json!({ "exp": -1 }), "no exp"),
        (json!({ "exp": 1e300 }), "no exp"),
        (json!({ "nbf": at(60) }), "not valid yet"),
        (json!({ "nbf": "soon" }), "no nbf"),
        (json!({ "iat": at(60) }), "not valid yet"),
        (json!({ "iat": "soon" }), "no iat"),
        (json!({ "iss": null }), "no iss"),
        (json!({ "iss": format!("{ISSUER}/") }), "issuer"),
        (json!({ "iss": ISSUER.to_uppercase() }), "issuer"),
        (json!({ "iss": [ISSUER] }), "issuer"),
        (json!({ "aud": null }), "no aud"),
        (json!({ "aud": "another" }), "not for this service"),
        (json!({ "aud": format!("{AUDIENCE} another") }), "not for this service"),
        (json!({ "aud": ["another", format!("{AUDIENCE}2")] }), "not for this service"),
        (json!({ "aud": [] }), "not for this service"),
        (json!({ "sub": null }), "no sub"),
        (json!({ "sub": "" }), "no sub"),
        (json!({ "sub": "a\0b" }), "no sub"),
        (json!({ "sub": "x".repeat(256) }), "no sub"),
        (json!({ "pgsluice_tables": "*.*" }), "no pgsluice_tables"),
        (json!({ "pgsluice_pg_role": 1 }), "no pgsluice_pg_role"),
        (json!({ "filling": "x".repeat(12 << 10) }), "longer than"),
    ] {
        refused(&world, &provider.token("ann", further), reason).await;
    }
    for further in [
        json!({ "exp": at(-5), "nbf": at(5), "iat": at(5) }),
        json!({ "exp": at(600) as f64 + 0.5, "iat": null }),
        json!({ "exp": 1e18 }),
        json!({ "aud": ["another", AUDIENCE] }),
        json!({ "filling": "x".repeat(8 << 10) }),
    ] {
        accepted(&world, &provider.token("ann", further)).await;
    }
    // What is signed and is no claims.
    for payload in [json!(null), json!([]), json!("text"), json!(7)] {
        let token = provider.signer.token(&json!({ "alg": "EdDSA", "kid": "ed" }), &payload);
        refused(&world, &token, "").await;
    }
}

/// Nothing of it may be let in or be answered with a 5xx, whatever it is.
#[tokio::test]
async fn hundreds_of_mutated_tokens_are_refused() {
    let provider = Provider::new();
    let world = world(&provider, &[]).await;
    let token = provider.token("ann", json!({}));
    let mut random = fastrand::Rng::with_seed(7);
    let mut tokens: Vec<String> = ["..", "...", ".", "a.b.c", "e30.e30.", "e30.e30.e30", "pgsluice_.a.b", "pgsluice_a_b"]
        .map(str::to_owned)
        .into();
    let alphabet = b"ABCxyz019-_.=+/%~,";
    while tokens.len() < 600 {
        let mut mutated: Vec<char> = token.chars().collect();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..mutated.len());
            let character = char::from(alphabet[random.usize(..alphabet.len())]);
            match random.u8(..4) {
                0 => mutated[at] = character,
                1 => mutated.insert(at, character),
                2 => drop(mutated.remove(at)),
                _ => mutated.truncate(at.max(1)),
            }
        }
        let mutated: String = mutated.into_iter().collect();
        if mutated != token {
            tokens.push(mutated);
        }
    }
    let world = &world;
    let requests = tokens.iter().map(|mutated| async move {
        get(world, "/v1/jobs", mutated).await.problem(401, "invalid-token");
    });
    futures::stream::iter(requests).buffer_unordered(16).collect::<Vec<()>>().await;
    accepted(world, &token).await;
}

#[tokio::test]
async fn roles_and_tables_are_those_of_the_claims() {
    let provider = Provider::new();
    let world = world(&provider, &[]).await;
    let token = |subject: &str, scope: &str, tables: Value| provider.token(subject, json!({ "scope": scope, "pgsluice_tables": tables }));
    let loader = token("ann", "pgsluice:load", json!(["t"]));
    let reader = token("bob", "pgsluice:read", json!(["t"]));
    let admin = token("eve", "pgsluice:admin pgsluice:read", json!(["*.*"]));
    let without_tables = token("dan", "pgsluice:load", Value::Null);
    load(&world, "t", &loader).await.committed(1);
    load(&world, "app.t", &admin).await.committed(1);
    for (table, token) in [("u", &loader), ("app.t", &loader), ("t", &reader), ("t", &without_tables), ("nope", &without_tables)] {
        load(&world, table, token).await.problem(403, "insufficient-scope");
    }
    load(&world, "pgsluice.keys", &admin).await.problem(404, "table-not-found");
    for scope in ["openid", "admin", "pgsluice:root"] {
        let answer = get(&world, "/v1/jobs", &token("ann", scope, json!(["*.*"]))).await;
        answer.problem(403, "insufficient-scope");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"pgsluice\", error=\"insufficient_scope\"");
    }
    // `scp`, as some providers call it.
    let listed = provider.token("ann", json!({ "scope": null, "scp": ["pgsluice:load"] }));
    load(&world, "t", &listed).await.committed(1);
    assert_eq!(get(&world, "/v1/jobs", &reader).await.json["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(get(&world, "/v1/jobs", &admin).await.json["jobs"].as_array().unwrap().len(), 3);
    for no_tables in [Value::Null, json!([])] {
        let reads_nothing = token("kim", "pgsluice:read", no_tables);
        assert_eq!(get(&world, "/v1/jobs", &reads_nothing).await.json["jobs"], json!([]));
    }
    assert_eq!(get(&world, "/v1/jobs", &without_tables).await.json["jobs"], json!([]));
    assert_eq!(world.db.count("t").await, 2);
}

#[tokio::test]
async fn the_settings_say_what_a_token_does_not() {
    let provider = Provider::new();
    let role =
        ["--jwt-role-claim", "/realm_access/roles", "--jwt-default-tables", "t, app.*", "--jwt-default-pg-role", "nobody is so called"];
    let world = world(&provider, &[&role[..], &["--jwt-rate", "5"]].concat()).await;
    let roles = json!({ "roles": ["offline_access", "pgsluice:load"] });
    let further = |tables: Value, role: Value| json!({ "realm_access": roles, "pgsluice_tables": tables, "pgsluice_pg_role": role });
    let own = world.db.texts("SELECT current_user::text").await[0].clone().unwrap();
    let confined = provider.token("ann", further(Value::Null, Value::Null));
    load(&world, "t", &confined).await.problem(403, "role-forbidden");
    load(&world, "u", &confined).await.problem(403, "insufficient-scope");
    let named = provider.token("ann", further(json!(["u"]), json!(own)));
    load(&world, "u", &named).await.committed(1);
    load(&world, "t", &named).await.problem(403, "insufficient-scope");
    // The scopes do not count where a claim is named.
    get(&world, "/v1/jobs", &provider.token("bob", json!({ "scope": "pgsluice:admin" })))
        .await
        .problem(403, "insufficient-scope");
    // So many requests of one subject, whichever tokens it has; another one has its own.
    let last = get(&world, "/v1/jobs", &confined).await;
    assert_eq!(
        (last.status.as_u16(), last.headers["ratelimit-policy"].to_str().unwrap()),
        (200, "\"requests\";q=5;w=60;qu=\"requests\"")
    );
    // One comes back every twelve seconds, on a machine that is as slow as that.
    let mut over = get(&world, "/v1/jobs", &named).await;
    for _ in 0..20 {
        if over.status == 429 {
            break;
        }
        over = get(&world, "/v1/jobs", &named).await;
    }
    over.problem(429, "quota-exceeded");
    load(&world, "t", &provider.token("dan", further(Value::Null, json!(own)))).await.committed(1);
}

#[tokio::test]
async fn jobs_belong_to_the_subject_and_to_nobody_else() {
    let provider = Provider::new();
    let world = world(&provider, &[]).await;
    let (ann, bob) = (
        provider.token("ann", json!({ "preferred_username": "Ann" })),
        provider.token("bob", json!({ "preferred_username": "Ann" })),
    );
    let key = make_key(&world.db.url, "load", "*.*", &[]);
    // One whose subject is the id of a key is not that key.
    let id_of_key = key.split('_').nth(1).unwrap();
    let like_the_key = provider.token(id_of_key, json!({}));
    let request = world.post("t", "text/csv").header("Idempotency-Key", "k").bearer_auth(&ann);
    let running = Trickle::begin_with(request);
    running.send("id\n1\n");
    world.db.wait_until("SELECT count(*) = 1 FROM pgsluice.jobs").await;
    let id = world.db.texts("SELECT id::text FROM pgsluice.jobs").await[0].clone().unwrap();
    let principal = world.db.texts("SELECT principal FROM pgsluice.jobs").await[0].clone();
    assert_eq!(principal, Some(format!("{ISSUER}#ann")));
    let job = format!("/v1/jobs/{id}");
    for token in [&bob, &like_the_key, &key] {
        get(&world, &job, token).await.problem(404, "job-not-found");
        get(&world, &format!("{job}/events"), token).await.problem(404, "job-not-found");
        let cancel = world.http.request(Method::POST, world.url(&format!("{job}/cancel"))).bearer_auth(token);
        Answer::of(cancel.send().await.unwrap()).await.problem(404, "job-not-found");
        assert_eq!(get(&world, "/v1/jobs?idempotency_key=k", token).await.json["jobs"], json!([]));
    }
    // The next token of the same subject is the same one.
    let again = provider.token("ann", json!({ "exp": seconds_from_now(1200), "jti": "another" }));
    assert_eq!(get(&world, &job, &again).await.json["state"], "running");
    let cancel = world.http.request(Method::POST, world.url(&format!("{job}/cancel"))).bearer_auth(&again);
    assert_eq!(cancel.send().await.unwrap().status(), 200);
    running.answer().await.problem(409, "cancelled");
    // A key's jobs are no token's.
    let by_key = load(&world, "t", &key).await.committed(1)["id"].as_str().unwrap().to_owned();
    get(&world, &format!("/v1/jobs/{by_key}"), &like_the_key).await.problem(404, "job-not-found");
    assert_eq!(get(&world, &format!("/v1/jobs/{by_key}"), &key).await.status, 200);
    let admin = provider.token("eve", json!({ "scope": "pgsluice:admin" }));
    assert_eq!(get(&world, &format!("/v1/jobs/{by_key}"), &admin).await.status, 200);
}

#[tokio::test]
async fn keys_and_tokens_side_by_side_and_nobody_without() {
    let provider = Provider::new();
    let world = world(&provider, &[]).await;
    // There is no key in the database yet, and the service is on loopback: somebody is asked all the same.
    world.get("/v1/jobs").await.problem(401, "unauthenticated");
    accepted(&world, &provider.token("ann", json!({}))).await;
    let key = make_key(&world.db.url, "load", "t", &[]);
    load(&world, "t", &key).await.committed(1);
    refused(&world, &format!("{}0", &key[..key.len() - 1]), "not a valid key").await;
    refused(&world, "pgsluice_a.b.c", "not a valid key").await;
    refused(&world, "neither", "neither a key nor a JWT").await;
    // Where no provider is trusted, no token is worth anything.
    let other = Service::start(&world.db.url, &["--require-keys"]).await;
    let answer = world.http.get(other.url("/v1/jobs")).bearer_auth(provider.token("ann", json!({})));
    Answer::of(answer.send().await.unwrap()).await.problem(401, "invalid-token");
}

#[tokio::test]
async fn a_stream_ends_when_its_token_does() {
    let provider = Provider::new();
    let world = world(&provider, &[]).await;
    let (lasting, passing) = (provider.token("ann", json!({})), provider.token("ann", json!({ "exp": seconds_from_now(-10) })));
    let open = async |token: &str| Events::open(world.http.get(world.url("/v1/events")).bearer_auth(token)).await;
    let (mut stays, mut ends) = (open(&lasting).await, open(&passing).await);
    let first = load(&world, "t", &lasting).await.committed(1)["id"].clone();
    for events in [&mut stays, &mut ends] {
        events.next_where(|event| event.job["id"] == first && event.state() == "committed").await;
    }
    for _ in 0..120 {
        if get(&world, "/v1/jobs", &passing).await.status == 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    refused(&world, &passing, "expired").await;
    let second = load(&world, "t", &lasting).await.committed(1)["id"].clone();
    stays.next_where(|event| event.job["id"] == second && event.state() == "committed").await;
    assert_eq!(ends.next().await, None);
}

#[tokio::test]
async fn a_new_key_set_counts_without_a_restart_and_a_broken_one_does_not() {
    let provider = Provider::new();
    let world = world(&provider, &[]).await;
    let next = Signer::p256();
    let (old_token, all_right) = (provider.token("ann", json!({})), claims("ann", json!({})));
    let new_token = next.token(&json!({ "alg": "ES256", "kid": "next" }), &all_right);
    let mut events = Events::open(world.http.get(world.url("/v1/events")).bearer_auth(&old_token)).await;
    refused(&world, &new_token, "no key with the token's kid").await;
    let mut private = next.jwk("next");
    private["d"] = json!("c2VjcmV0");
    for broken in ["", "{}", "{\"keys\": [", &json!({ "keys": [next.jwk("a"), private] }).to_string()] {
        provider.write(broken);
        tokio::time::sleep(Duration::from_secs(5)).await;
        accepted(&world, &old_token).await;
        refused(&world, &new_token, "no key with the token's kid").await;
    }
    std::fs::remove_file(provider.file()).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    accepted(&world, &old_token).await;
    // Both for a while, and then the new one alone.
    provider.publish(&[provider.signer.jwk("ed"), next.jwk("next")]);
    wait_for(&world, &new_token, 200).await;
    accepted(&world, &old_token).await;
    let seen = load(&world, "t", &new_token).await.committed(1)["id"].clone();
    events.next_where(|event| event.job["id"] == seen && event.state() == "committed").await;
    provider.publish(&[next.jwk("next")]);
    wait_for(&world, &old_token, 401).await;
    refused(&world, &old_token, "no key with the token's kid").await;
    accepted(&world, &new_token).await;
    // A stream that a token has opened goes with the key that has signed it; so does one whose key was replaced under its name.
    load(&world, "t", &new_token).await.committed(1);
    assert_eq!(events.next().await, None);
    provider.publish(&[Signer::p256().jwk("next")]);
    wait_for(&world, &new_token, 401).await;
    refused(&world, &new_token, "signature is wrong").await;
    // The last one is withdrawn too, by a set without any.
    provider.publish(&[next.jwk("next")]);
    wait_for(&world, &new_token, 200).await;
    provider.write(&json!({ "keys": [] }).to_string());
    wait_for(&world, &new_token, 401).await;
    refused(&world, &new_token, "no key with the token's kid").await;
}

async fn wait_for(world: &World, token: &str, status: u16) {
    for _ in 0..120 {
        if get(world, "/v1/jobs", token).await.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("no {status} within 30 s");
}

#[tokio::test]
async fn key_sets_that_are_no_good_are_named_before_anything_starts() {
    let provider = Provider::new();
    let ed = provider.signer.jwk("ed");
    let with = |key: &Value, name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        key
    };
    let of = |keys: &[Value]| json!({ "keys": keys }).to_string();
    let secret = "hush7f3a";
    let cases = [
        (String::new(), "not JSON"),
        ("[]".to_owned(), "no array \"keys\""),
        (of(&[]), "no key in it"),
        (of(&[json!({ "kty": "oct", "kid": "hs", "k": secret })]), "it is private"),
        (
            of(&[ed.clone(), with(&Signer::p256().jwk("ec"), "d", json!(secret))]),
            "key 2 of 2 (kid \"ec\"): it is private",
        ),
        (
            of(&[Signer::rsa(2048).jwk("rsa"), ed.clone(), with(&Signer::p256().jwk("ec"), "kid", json!("ed"))]),
            "the same kid",
        ),
        (of(&[ed.clone(), weak()]), "1024 bits is too weak"),
        (of(&[with(&ed, "use", json!("enc"))]), "use is not sig"),
        (of(&[with(&ed, "key_ops", json!(["sign"]))]), "key_ops do not have verify"),
        (of(&[with(&ed, "alg", json!("ES256"))]), "alg is not known here"),
        (of(&[with(&ed, "alg", json!("HS256"))]), "alg is not known here"),
        (of(&[with(&ed, "crv", json!("Ed448"))]), "kty or crv is not known"),
        (of(&[with(&ed, "kty", json!("AKP"))]), "kty or crv is not known"),
        (of(&[with(&ed, "x", json!("AAAA"))]), "numbers cannot be read"),
        (of(&[with(&ed, "x", json!("not base64!"))]), "numbers cannot be read"),
        (of(&[json!("text"), json!(7)]), "no key of RFC 7517"),
        (" ".repeat((1 << 20) + 1), "longer than"),
    ];
    for (text, reason) in cases {
        provider.write(&text);
        let said = start(&provider.flags()).await;
        assert!(said.contains(reason) && said.contains("jwks.json"), "{text:.200}: {said}");
        assert!(!said.contains(secret), "{said}");
    }
    provider.publish(&[ed]);
    let flags = provider.flags();
    for (flags, reason) in [
        (flags[..4].to_vec(), "--jwt-audience"),
        ([&flags[..2], &flags[4..]].concat(), "--jwt-issuer"),
        (flags[2..].to_vec(), "--jwks-file"),
        ([&flags[..], &["--allow-unauthenticated".to_owned()]].concat(), "--allow-unauthenticated"),
        (
            [&flags[..2], &["--jwt-issuer".to_owned(), "https://a#b".to_owned()], &flags[4..]].concat(),
            "without #",
        ),
        (
            ["--jwks-file", "/nowhere/keys.json", "--jwt-issuer", "i", "--jwt-audience", "a"]
                .map(str::to_owned)
                .to_vec(),
            "/nowhere/keys.json",
        ),
    ] {
        let said = start(&flags).await;
        assert!(said.contains(reason), "{flags:?}: {said}");
    }
}

/// An RSA key as nobody should have it any more; ring would not read it.
fn weak() -> Value {
    let modulus = [vec![0, 0x80], vec![1; 127]].concat();
    json!({ "kty": "RSA", "kid": "weak", "n": base64url(&modulus), "e": "AQAB" })
}

/// What a service says that must not start.
async fn start(flags: &[String]) -> String {
    let mut command = Service::command();
    command.args(["--data-dir", "/nonexistent/and/not/needed"]).args(flags).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a provider publishes beside: keys for encryption, and of kinds that are not known here.
#[tokio::test]
async fn other_keys_of_the_set_are_left_out_and_it_is_said_and_no_token_is_in_the_log() {
    let provider = Provider::new();
    let (rsa, bare) = (Signer::rsa(2048), Signer::ed25519());
    let mut encrypting = rsa.jwk("ed");
    encrypting["use"] = json!("enc");
    encrypting["alg"] = json!("RSA-OAEP");
    let mut without_kid = bare.jwk("");
    without_kid.as_object_mut().unwrap().remove("kid");
    // A zero before the modulus is one too many, and common.
    let mut zero = rsa.jwk("zero");
    let modulus = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, zero["n"].as_str().unwrap()).unwrap();
    zero["n"] = json!(base64url(&[vec![0], modulus].concat()));
    provider.publish(&[json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" }), encrypting, provider.signer.jwk("ed"), without_kid, zero]);
    let db = Database::create().await;
    let log = provider.file().with_file_name("log");
    let mut command = Service::command_logging("trace");
    command.args(["--log-format", "json", "--database-url", &db.url]).args(provider.flags());
    command.stderr(std::fs::File::create(&log).unwrap());
    let world = World::of(db, Service::spawn(command).await);
    world.db.sql(TABLES).await;
    let good = provider.token("ann", json!({ "preferred_username": "Ann \"the\" Tester" }));
    load(&world, "t", &good).await.committed(1);
    accepted(&world, &rsa.token(&json!({ "alg": "RS256", "kid": "zero" }), &claims("ann", json!({})))).await;
    // Two keys could be meant.
    let unnamed = bare.token(&json!({ "alg": "EdDSA" }), &claims("ann", json!({})));
    refused(&world, &unnamed, "more than one key").await;
    let expired = provider.token("ann", json!({ "exp": seconds_from_now(-60) }));
    refused(&world, &expired, "expired").await;

    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reasons = lines.iter().filter(|line| line["message"] == "a key of the key set is not used").count();
    assert_eq!(reasons, 2);
    let audit = |event: &str| {
        lines
            .iter()
            .find(|line| line["target"] == "audit" && line["event"] == event && line["reason"] != unnamed)
    };
    let loaded = audit("load").unwrap();
    assert_eq!(
        (&loaded["principal"], &loaded["name"]),
        (&json!(format!("{ISSUER}#ann")), &json!("Ann \"the\" Tester"))
    );
    assert!(
        lines
            .iter()
            .any(|line| line["event"] == "access" && line["outcome"] == "denied" && line["reason"] == "the token has expired")
    );
    for token in [&good, &unnamed, &expired] {
        for part in token.split('.').filter(|part| part.len() > 60) {
            assert!(!text.contains(part), "a token is in the log");
        }
    }
}
