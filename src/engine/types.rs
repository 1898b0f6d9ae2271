//! What the types of a table's columns are made of, by the catalogue: domains, enumerations, composites, arrays, ranges.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::encode::{TypeFacts, Types};
use crate::error::DatabaseError;

/// One row for each type that the table's columns use, and for each that those are made of. Its kind is `typtype`, but `a` for a true
/// array.
const USED_TYPES: &str = "\
    WITH RECURSIVE used(oid) AS ( \
        SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped \
        UNION \
        SELECT part.oid FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid, LATERAL ( \
            SELECT t.typbasetype WHERE t.typtype = 'd' \
            UNION ALL SELECT t.typelem WHERE t.typelem <> 0 \
            UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid) \
            UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a \
                      WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped \
        ) AS part(oid)) \
    SELECT t.oid, \
           CASE WHEN t.typinput = 'pg_catalog.array_in'::regproc THEN 'a' ELSE t.typtype::text END, \
           CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE coalesce(r.rngsubtype, t.typelem) END, \
           t.typtypmod, pg_catalog.ascii(t.typdelim::text), t.typname::text, e.extname::text, \
           ARRAY(SELECT l.enumlabel::text FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid ORDER BY l.enumsortorder), \
           ARRAY(SELECT a.attname::text || ' ' || a.atttypid || ' ' || a.atttypmod FROM pg_catalog.pg_attribute a \
                 WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) \
    FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid \
         LEFT JOIN pg_catalog.pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid) \
         LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid \
              AND d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::regclass \
         LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid";

/// The facts about all of them, down to the built-in ones.
pub(super) async fn types(client: &Client, table: u32) -> Result<Types, DatabaseError> {
    let rows = client.query_typed(USED_TYPES, &[(&table, Type::OID)]).await?;
    let mut types = Types::new();
    for row in &rows {
        if let Some(facts) = type_facts(row)? {
            types.insert(row.try_get(0)?, facts);
        }
    }
    Ok(types)
}

fn type_facts(row: &Row) -> Result<Option<TypeFacts>, tokio_postgres::Error> {
    let part: Option<u32> = row.try_get(2)?;
    let part = part.unwrap_or_default();
    Ok(Some(match row.try_get::<_, &str>(1)? {
        "d" => TypeFacts::Domain { base: part, typmod: row.try_get(3)? },
        "e" => TypeFacts::Enum { labels: row.try_get(7)? },
        "a" => TypeFacts::Array { element: part, delimiter: row.try_get::<_, i32>(4)? as u8 },
        "r" => TypeFacts::Range { subtype: part },
        "m" => TypeFacts::Multirange { subtype: part },
        "c" => {
            let attributes: Vec<String> = row.try_get(8)?;
            let attributes: Option<Vec<_>> = attributes.iter().map(|text| attribute(text)).collect();
            match attributes {
                Some(attributes) => TypeFacts::Composite { attributes },
                None => return Ok(None),
            }
        }
        _ => match row.try_get::<_, Option<String>>(6)? {
            Some(extension) => TypeFacts::Extension { extension, name: row.try_get(5)? },
            None => return Ok(None),
        },
    }))
}

/// `name oid typmod`, the name with any blanks of its own.
fn attribute(text: &str) -> Option<(String, u32, i32)> {
    let mut parts = text.rsplitn(3, ' ');
    let (typmod, oid, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some((name.to_owned(), oid.parse().ok()?, typmod.parse().ok()?))
}
