//! Of what a type is made, for values that come with a structure of their own: JSON has objects and arrays where a literal has
//! parentheses and braces.

use std::sync::Arc;

use super::kind::{DEPTH_MAX, TypeFacts, Types};

/// The structure of a type. It is known for every type, also where [`Kind`](super::Kind) knows no binary format for a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// one text
    Scalar,
    /// `json` and `jsonb`
    Json,
    /// `hstore`: texts by their keys
    Hstore,
    /// an array: `pg_type.typdelim` of its elements, and their shape
    Array(u8, Arc<Shape>),
    /// a composite type: its attributes by their names, in their order
    Composite(Arc<[(String, Shape)]>),
}

impl Shape {
    /// The shape of a type, by its object identifier.
    pub fn resolve(oid: u32, types: &Types) -> Shape {
        Shape::resolve_within(oid, types, DEPTH_MAX)
    }

    fn resolve_within(oid: u32, types: &Types, depth: usize) -> Shape {
        let Some(depth) = depth.checked_sub(1) else {
            return Shape::Scalar;
        };
        let resolve = |oid| Shape::resolve_within(oid, types, depth);
        match (oid, types.get(&oid)) {
            (114 | 3802, _) => Shape::Json,
            (_, Some(TypeFacts::Domain { base, .. })) => resolve(*base),
            (_, Some(TypeFacts::Array { element, delimiter })) => Shape::Array(*delimiter, Arc::new(resolve(*element))),
            (_, Some(TypeFacts::Composite { attributes })) => {
                Shape::Composite(attributes.iter().map(|(name, oid, _)| (name.clone(), resolve(*oid))).collect())
            }
            (_, Some(TypeFacts::Extension { extension, name })) if extension == "hstore" && name == "hstore" => Shape::Hstore,
            _ => Shape::Scalar,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_is_known_where_a_part_has_no_encoder() {
        let mut types = Types::new();
        types.insert(1020, TypeFacts::Array { element: 603, delimiter: b';' });
        types.insert(20_000, TypeFacts::Domain { base: 3802, typmod: -1 });
        types.insert(
            20_001,
            TypeFacts::Composite { attributes: vec![("boxes".into(), 1020, -1), ("note".into(), 20_000, -1)] },
        );
        let boxes = Shape::Array(b';', Arc::new(Shape::Scalar));
        let expected = Shape::Composite([("boxes".to_owned(), boxes), ("note".to_owned(), Shape::Json)].into());
        assert_eq!(Shape::resolve(20_001, &types), expected);
    }
}
