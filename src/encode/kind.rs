//! What a column of the target table takes: which binary format its fields get, worked out from the server's catalogue.

use std::collections::HashMap;
use std::sync::Arc;

use super::numeric;

/// Types nest (arrays of composites of domains of …); beyond this depth the server reads the text itself.
pub(super) const DEPTH_MAX: usize = 12;

/// The binary format of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `boolean`
    Bool,
    /// `"char"`
    Char,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `oid`
    Oid,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`, with `(precision, scale)` where declared
    Numeric(Option<(u16, i16)>),
    /// `money`
    Money,
    /// `text`, and `citext`
    Text,
    /// `character varying(n)`, in characters
    Varchar(Option<u32>),
    /// `character(n)`, in characters
    Bpchar(Option<u32>),
    /// `name`
    Name,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `time without time zone`
    Time,
    /// `time with time zone`
    Timetz,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
    /// `interval` without a restriction to fields, of which the server's rules are its own
    Interval,
    /// `uuid`
    Uuid,
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// `inet`
    Inet,
    /// `cidr`
    Cidr,
    /// `macaddr`
    Macaddr,
    /// `macaddr8`
    Macaddr8,
    /// `bit(n)`
    Bit(u32),
    /// `bit varying(n)`
    Varbit(Option<u32>),
    /// `pg_lsn`
    PgLsn,
    /// `hstore`
    Hstore,
    /// an enumeration, by its labels
    Enum(Arc<[Box<str>]>),
    /// an array
    Array(Arc<Element>),
    /// a composite type
    Composite(Arc<[Attribute]>),
    /// a range over a type
    Range(Arc<Kind>),
    /// a multirange over a type
    Multirange(Arc<Kind>),
}

/// What the elements of an array are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// `pg_type.oid` of the element's type, which is part of the wire format
    pub oid: u32,
    /// `pg_type.typdelim`
    pub delimiter: u8,
    /// its own format
    pub kind: Kind,
}

/// One attribute of a composite type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// its name
    pub name: String,
    /// `pg_type.oid` of its type, which is part of the wire format
    pub oid: u32,
    /// its own format
    pub kind: Kind,
}

/// What the catalogue says about a type that is not built in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeFacts {
    /// a domain over a type
    Domain {
        /// `typbasetype`
        base: u32,
        /// `typtypmod`
        typmod: i32,
    },
    /// an enumeration
    Enum {
        /// in their order
        labels: Vec<String>,
    },
    /// a composite type: name, type and typmod of each attribute
    Composite {
        /// in their order, without dropped ones
        attributes: Vec<(String, u32, i32)>,
    },
    /// an array
    Array {
        /// `typelem`
        element: u32,
        /// `typdelim`
        delimiter: u8,
    },
    /// a range
    Range {
        /// `rngsubtype`
        subtype: u32,
    },
    /// a multirange
    Multirange {
        /// `rngsubtype`
        subtype: u32,
    },
    /// a base type that an extension brings: the extension's name and the type's
    Extension {
        /// `pg_extension.extname`
        extension: String,
        /// `pg_type.typname`
        name: String,
    },
}

/// The facts about all types that a table's columns are made of, by their object identifier.
pub type Types = HashMap<u32, TypeFacts>;

impl Kind {
    /// The kind of a column, from `pg_attribute.atttypid` and `atttypmod`; `None` where there is no binary encoder, for the type or
    /// for a part of it.
    pub fn resolve(oid: u32, typmod: i32, types: &Types) -> Option<Kind> {
        Kind::resolve_within(oid, typmod, types, DEPTH_MAX)
    }

    fn resolve_within(oid: u32, typmod: i32, types: &Types, depth: usize) -> Option<Kind> {
        if let Some(kind) = Kind::built_in(oid, typmod) {
            return Some(kind);
        }
        let depth = depth.checked_sub(1)?;
        let resolve = |oid, typmod| Kind::resolve_within(oid, typmod, types, depth);
        Some(match types.get(&oid)? {
            TypeFacts::Domain { base, typmod } => resolve(*base, *typmod)?,
            TypeFacts::Enum { labels } => Kind::Enum(labels.iter().map(|label| label.as_str().into()).collect()),
            // An array's typmod is its elements'.
            TypeFacts::Array { element, delimiter } => {
                let kind = resolve(*element, typmod)?;
                Kind::Array(Arc::new(Element { oid: *element, delimiter: *delimiter, kind }))
            }
            TypeFacts::Composite { attributes } => {
                let attribute = |(name, oid, typmod): &(String, u32, i32)| {
                    let kind = resolve(*oid, *typmod)?;
                    Some(Attribute { name: name.clone(), oid: *oid, kind })
                };
                Kind::Composite(attributes.iter().map(attribute).collect::<Option<Vec<_>>>()?.into())
            }
            TypeFacts::Range { subtype } => Kind::Range(Arc::new(resolve(*subtype, -1)?)),
            TypeFacts::Multirange { subtype } => Kind::Multirange(Arc::new(resolve(*subtype, -1)?)),
            TypeFacts::Extension { extension, name } => match (extension.as_str(), name.as_str()) {
                ("citext", "citext") => Kind::Text,
                ("hstore", "hstore") => Kind::Hstore,
                _ => return None,
            },
        })
    }

    /// The object identifiers are fixed in PostgreSQL's `pg_type.dat`; a typmod of a character type counts its own four header bytes.
    fn built_in(oid: u32, typmod: i32) -> Option<Kind> {
        let length = u32::try_from(typmod - 4).ok().filter(|_| typmod >= 4);
        let bits = u32::try_from(typmod).ok();
        Some(match oid {
            16 => Kind::Bool,
            17 => Kind::Bytea,
            18 => Kind::Char,
            19 => Kind::Name,
            20 => Kind::Int8,
            21 => Kind::Int2,
            23 => Kind::Int4,
            25 => Kind::Text,
            26 => Kind::Oid,
            114 => Kind::Json,
            650 => Kind::Cidr,
            700 => Kind::Float4,
            701 => Kind::Float8,
            774 => Kind::Macaddr8,
            790 => Kind::Money,
            829 => Kind::Macaddr,
            869 => Kind::Inet,
            1042 => Kind::Bpchar(length),
            1043 => Kind::Varchar(length),
            1082 => Kind::Date,
            1083 => Kind::Time,
            1114 => Kind::Timestamp,
            1184 => Kind::Timestamptz,
            1186 if typmod < 0 => Kind::Interval,
            1266 => Kind::Timetz,
            // Without a typmod (in a range, say) `bit` means any length.
            1560 => bits.map_or(Kind::Varbit(None), Kind::Bit),
            1562 => Kind::Varbit(bits),
            1700 => Kind::Numeric(numeric::typmod(typmod)),
            2950 => Kind::Uuid,
            3220 => Kind::PgLsn,
            3802 => Kind::Jsonb,
            _ => return None,
        })
    }

    /// Takes a text as it is (but for a length, which is checked).
    pub fn is_text(&self) -> bool {
        matches!(self, Kind::Text | Kind::Varchar(_) | Kind::Bpchar(_) | Kind::Json | Kind::Jsonb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_arrays_and_composites_are_followed_down() {
        let mut types = Types::new();
        types.insert(1015, TypeFacts::Array { element: 1043, delimiter: b',' });
        types.insert(20_000, TypeFacts::Domain { base: 1700, typmod: ((10 << 16) | 2) + 4 });
        types.insert(
            20_001,
            TypeFacts::Composite { attributes: vec![("amount".into(), 20_000, -1), ("tags".into(), 1015, 7)] },
        );
        let Some(Kind::Composite(attributes)) = Kind::resolve(20_001, -1, &types) else {
            panic!("not a composite");
        };
        assert_eq!(attributes[0].kind, Kind::Numeric(Some((10, 2))));
        let Kind::Array(element) = &attributes[1].kind else {
            panic!("not an array");
        };
        assert_eq!((element.oid, &element.kind), (1043, &Kind::Varchar(Some(3))));
    }

    #[test]
    fn a_part_without_an_encoder_makes_the_whole_go_as_text() {
        let mut types = Types::new();
        // point[], and a composite with a tsvector in it
        types.insert(1017, TypeFacts::Array { element: 600, delimiter: b',' });
        types.insert(20_001, TypeFacts::Composite { attributes: vec![("document".into(), 3614, -1)] });
        assert_eq!(Kind::resolve(1017, -1, &types), None);
        assert_eq!(Kind::resolve(20_001, -1, &types), None);
        assert_eq!(Kind::resolve(1186, 6, &types), None);
    }
}
