//! The same under other settings of the database, which change what a literal means, and in other encodings.

use super::compare;
use super::corpus::Case;
use super::tally::Tally;
use super::{FLAGS, SETUP};
use crate::support::{Database, Service, World};

const TEMPORAL: &[&str] = &[
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "timestamptz(0)",
    "interval",
    "daterange",
    "tstzrange",
    "timestamptz[]",
    "with_array",
];
const CHARACTERS: &[&str] =
    &["text", "varchar(3)", "char(3)", "name", "\"char\"", "json", "jsonb", "bytea", "text[]", "xml", "tsvector", "jsonpath", "text_range"];

/// Settings that a database may have by `ALTER DATABASE … SET`, or an encoding that it was made with.
pub(super) struct Setting {
    name: &'static str,
    encoding: Option<&'static str>,
    settings: &'static [(&'static str, &'static str)],
    types: &'static [&'static str],
}

pub(super) const SETTINGS: [Setting; 7] = [
    Setting {
        name: "SQL, DMY",
        encoding: None,
        settings: &[("DateStyle", "SQL, DMY"), ("IntervalStyle", "sql_standard"), ("TimeZone", "Europe/Berlin")],
        types: TEMPORAL,
    },
    Setting {
        name: "ISO, YMD",
        encoding: None,
        settings: &[("DateStyle", "ISO, YMD"), ("IntervalStyle", "iso_8601"), ("TimeZone", "America/St_Johns")],
        types: TEMPORAL,
    },
    Setting {
        name: "German",
        encoding: None,
        settings: &[("DateStyle", "German, DMY"), ("TimeZone", "<+0530>-5:30"), ("timezone_abbreviations", "India")],
        types: TEMPORAL,
    },
    Setting {
        name: "no NULLs in arrays, XML documents",
        encoding: None,
        settings: &[("array_nulls", "off"), ("xmloption", "document"), ("bytea_output", "escape"), ("extra_float_digits", "-15")],
        types: &[
            "integer[]",
            "text[]",
            "with_array",
            "pair[]",
            "xml",
            "bytea",
            "bytea[]",
            "real",
            "double precision",
            "float_range",
            "point",
        ],
    },
    Setting { name: "LATIN1", encoding: Some("LATIN1"), settings: &[], types: CHARACTERS },
    Setting { name: "EUC_JP", encoding: Some("EUC_JP"), settings: &[], types: CHARACTERS },
    // Here a name may end within a character, and no such name can be sent to a client.
    Setting {
        name: "SQL_ASCII",
        encoding: Some("SQL_ASCII"),
        settings: &[],
        types: &["text", "varchar(3)", "char(3)", "json", "jsonb", "bytea", "text[]", "xml", "tsvector", "jsonpath", "text_range"],
    },
];

impl Setting {
    pub(super) async fn run(&self, cases: &[Case]) -> Tally {
        let world = self.world().await;
        let chosen = cases.iter().filter(|case| self.types.contains(&case.sql_type.as_str()));
        let cases: Vec<Case> = chosen.cloned().map(Case::few).collect();
        compare(&world, &cases, self.name).await
    }

    async fn world(&self) -> World {
        let Some(encoding) = self.encoding else {
            let world = World::with(&FLAGS).await;
            world.db.sql(SETUP).await;
            for (name, value) in self.settings {
                world.db.sql(&format!("ALTER DATABASE {} SET {name} = '{value}'", world.db.name)).await;
            }
            return world;
        };
        // The service keeps its own tables in a database of the usual encoding.
        let metadata = Database::create().await;
        let name = format!("{}_{}", metadata.name, encoding.to_lowercase());
        metadata
            .sql(&format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"))
            .await;
        let (server, _) = metadata.url.rsplit_once('/').unwrap();
        let db = Database::open(format!("{server}/{name}"), name).await;
        db.sql("CREATE TYPE text_range AS RANGE (subtype = text, collation = \"C\")").await;
        let flags = [&FLAGS[..], &["--bulk-database-url", &db.url]].concat();
        let service = Service::start(&metadata.url, &flags).await;
        World { db, service, http: reqwest::Client::new() }
    }
}
