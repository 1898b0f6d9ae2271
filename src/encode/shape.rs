//! How a literal for a type is put together, as far as the catalogue tells: needed where the server reads rows itself, also of types of
//! which we know no more than that they are arrays or records of some other types.

use std::sync::Arc;

use super::kind::{DEPTH_MAX, Kind, TypeFacts, Types};

/// The shape of a type's literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// that of a kind
    Scalar(Kind),
    /// an array of another shape
    Array {
        /// `pg_type.typdelim` of the elements
        delimiter: u8,
        /// the elements
        element: Arc<Shape>,
    },
    /// a composite type: its attributes in their order
    Composite(Arc<[(String, Shape)]>),
    /// only the type's own input function knows
    Opaque,
}

/// `interval`, which has no kind where it is restricted to fields or digits.
const INTERVAL: u32 = 1186;

impl Shape {
    /// The shape of a column's literals, from `pg_attribute.atttypid` and `atttypmod`.
    pub fn of(oid: u32, typmod: i32, types: &Types) -> Shape {
        Shape::within(oid, typmod, types, DEPTH_MAX + 1)
    }

    /// That of a kind of which no catalogue tells.
    #[cfg(any(test, fuzzing))]
    pub fn of_kind(kind: &Kind) -> Shape {
        match kind {
            Kind::Array(element) => Shape::Array { delimiter: element.delimiter, element: Arc::new(Shape::of_kind(&element.kind)) },
            Kind::Composite(attributes) => Shape::Composite(
                attributes
                    .iter()
                    .map(|attribute| (attribute.name.clone(), Shape::of_kind(&attribute.kind)))
                    .collect(),
            ),
            other => Shape::Scalar(other.clone()),
        }
    }

    fn within(oid: u32, typmod: i32, types: &Types, depth: usize) -> Shape {
        let Some(depth) = depth.checked_sub(1) else {
            return Shape::Opaque;
        };
        match types.get(&oid) {
            Some(TypeFacts::Domain { base, typmod }) => Shape::within(*base, *typmod, types, depth),
            Some(TypeFacts::Array { element, delimiter }) => {
                let element = Arc::new(Shape::within(*element, typmod, types, depth));
                Shape::Array { delimiter: *delimiter, element }
            }
            Some(TypeFacts::Composite { attributes }) => {
                let shape = |(name, oid, typmod): &(String, u32, i32)| (name.clone(), Shape::within(*oid, *typmod, types, depth));
                Shape::Composite(attributes.iter().map(shape).collect())
            }
            _ if oid == INTERVAL => Shape::Scalar(Kind::Interval),
            _ => Kind::resolve(oid, typmod, types).map_or(Shape::Opaque, Shape::Scalar),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_kind_may_have_a_shape() {
        let mut types = Types::new();
        types.insert(1020, TypeFacts::Array { element: 603, delimiter: b';' });
        let attributes = vec![("n".into(), 23, -1), ("boxes".into(), 1020, -1), ("wait".into(), 1186, 6)];
        types.insert(20_000, TypeFacts::Composite { attributes });
        types.insert(20_001, TypeFacts::Domain { base: 20_000, typmod: -1 });
        let Shape::Composite(attributes) = Shape::of(20_001, -1, &types) else {
            panic!("not a composite");
        };
        assert_eq!(attributes[0], ("n".into(), Shape::Scalar(Kind::Int4)));
        assert_eq!(attributes[1].1, Shape::Array { delimiter: b';', element: Arc::new(Shape::Opaque) });
        assert_eq!(attributes[2].1, Shape::Scalar(Kind::Interval));
        assert_eq!(Shape::of(3614, -1, &types), Shape::Opaque);
    }
}
