//! Types of PostgreSQL's own house, which may be columns all the same.

use super::super::generated::{Texts, any_of, re, word};
use super::{Case, with_array};

const NUMBERS: &[&str] = &["0", "1", "9", "-", "+", " ", ":", ",", "(", ")", "x", "4294967295", "65536", "a"];
const NAMES: &[&str] = &["pg_catalog", ".", "\"", "int4", "(", ")", ",", " ", "now", "0", "pg_class", "-", "a", "[]", "C", "text"];

pub(super) fn cases() -> Vec<Case> {
    let number = |most: &str| any_of([re(most), re("[ ]{0,2}[+-]?0{0,3}[0-9]{1,10}"), re("0x[0-9a-f]{1,8}")]);
    let tid = any_of([re("\\([0-9]{1,10},[0-9]{1,5}\\)"), re("[ ]?\\([ ]?[+-]?[0-9]{1,9},[ ]?[0-9]{1,4}\\)[ ]?")]);
    let vector = |most: &str| {
        any_of([re(&format!("{most}( {most}){{0,6}}")), re(&format!("[ ]{{0,2}}{most}([ \t]{{1,2}}{most}){{0,3}}[ ]{{0,2}}"))])
    };
    let snapshot = any_of([
        re("[1-9]:1[0-9]:"),
        re("1[0-4]:3[0-9]:1[5-7],1[89],2[0-9]"),
        re("[1-9][0-9]{0,17}:9[0-9]{18}:"),
        re("[0-9]{1,3}:[0-9]{1,3}:[0-9]{0,3}"),
    ]);
    let plain = [
        Case::new("xid", &["xids"], NUMBERS, number("[0-9]{1,9}")),
        Case::new("xid8", &["xids"], NUMBERS, number("[0-9]{1,19}")),
        Case::new("cid", &["xids"], NUMBERS, number("[0-9]{1,9}")),
        Case::new("tid", &["tid"], NUMBERS, tid),
        Case::new("int2vector", &["vectors"], NUMBERS, vector("-?[0-9]{1,4}")),
        Case::new("oidvector", &["vectors"], NUMBERS, vector("[0-9]{1,9}")),
        Case::new("pg_snapshot", &["snapshots"], NUMBERS, snapshot.clone()),
        Case::new("txid_snapshot", &["snapshots"], NUMBERS, snapshot),
        Case::new("refcursor", &["refcursor", "strings"], NAMES, re("\\PC{1,30}")),
        Case::new(
            "aclitem",
            &["aclitem"],
            &["postgres", "=", "/", "r", "w", "*", "public", " ", "\"", "X"],
            re("(postgres)?=([arwdDxtXUC]\\*?){0,6}/postgres"),
        ),
    ];
    let mut cases: Vec<Case> = plain.into_iter().flat_map(with_array).collect();
    cases.extend(names().into_iter().flat_map(with_array));
    // Their input functions refuse everything.
    for name in [
        "gtsvector",
        "pg_node_tree",
        "pg_ndistinct",
        "pg_dependencies",
        "pg_mcv_list",
        "pg_brin_bloom_summary",
        "pg_brin_minmax_multi_summary",
    ] {
        cases.push(Case::new(name, &["refused"], &["a", "1", "{", "}", " ", ":", "\\x"], re("[ -~]{1,9}")).few());
    }
    cases
}

/// Names of objects, which are looked up.
fn names() -> [Case; 11] {
    let tables = word(&[
        "pg_class",
        "pg_type",
        "pg_catalog.pg_index",
        "\"pg_proc\"",
        "PG_ATTRIBUTE",
        "information_schema.columns",
        "pg_am",
        "1255",
        "1249",
    ]);
    let types = any_of([
        word(&[
            "int4",
            "int8[]",
            "timestamp with time zone",
            "\"char\"",
            "varchar(7)",
            "pg_catalog.bool",
            "numeric(8,3)",
            "bit varying",
            "oid",
            "interval hour",
        ]),
        re("(pg_catalog\\.)?(int2|int4|text|float8|uuid|jsonb|date|_text)(\\[\\]){0,2}"),
    ]);
    let functions = word(&["now", "pg_catalog.version", "pg_backend_pid", "\"pg_sleep\"", "pi", "abs", "1299", "random", "nope"]);
    let signatures = any_of([
        re("(abs|floor|sqrt)\\((numeric|float8)\\)"),
        re("(pg_catalog\\.)?(lower|upper|length|md5)\\( ?text ?\\)"),
        word(&["now()", "pi()"]),
    ]);
    let operators = word(&["||/", "pg_catalog.@-@", "597", "@#@", "-", "+"]);
    let operations = re("[-+*/](\\(|\\( )(int4|int8|numeric|none), ?(int4|int8|numeric)\\)");
    let small = |names: &'static [&'static str]| -> Texts { any_of([word(names), re("[0-9]{1,6}")]) };
    [
        Case::new("regclass", &["regclass"], NAMES, tables),
        Case::new("regtype", &["regtype"], NAMES, types),
        Case::new("regproc", &["regproc"], NAMES, functions),
        Case::new("regprocedure", &["regprocedure"], NAMES, signatures),
        Case::new("regoper", &["regoper"], NAMES, operators),
        Case::new("regoperator", &["regoperator"], NAMES, operations),
        Case::new("regcollation", &["regnames"], NAMES, small(&["C", "\"C\"", "pg_catalog.\"POSIX\"", "\"default\""])),
        Case::new("regrole", &["regnames"], NAMES, small(&["postgres", "pg_monitor", "\"pg_read_all_data\""])),
        Case::new(
            "regnamespace",
            &["regnames"],
            NAMES,
            small(&["public", "pg_catalog", "\"information_schema\"", "pg_toast"]),
        ),
        Case::new("regconfig", &["regnames"], NAMES, small(&["simple", "english", "pg_catalog.german", "\"french\""])),
        Case::new("regdictionary", &["regnames"], NAMES, small(&["simple", "english_stem", "pg_catalog.german_stem"])),
    ]
}
