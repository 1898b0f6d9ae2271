//! Lists, structs and maps into arrays, composite types and hstore.

use std::collections::HashSet;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, ListLikeArray, MapArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::{Append, Context, bind, strings};
use crate::encode::{Attribute, Element, FieldError, Kind, RowWriter};

/// `MAXDIM`.
const DIMENSIONS_MAX: usize = 6;

static TEXT: Kind = Kind::Text;

/// A value that may be NULL.
pub(super) struct Nullable<T> {
    nulls: Option<NullBuffer>,
    way: T,
}

impl<T> Nullable<T> {
    pub(super) fn new(array: &dyn Array, way: T) -> Nullable<T> {
        Nullable { nulls: array.logical_nulls(), way }
    }

    /// The way to the value; `None` where it is NULL.
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        let null = self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(index));
        (!null).then_some(&self.way)
    }
}

/// `array_recv`: dimensions, a flag for NULLs, the elements' type, length and lower bound of each dimension, then the elements.
pub(super) fn array<'a>(element: &'a Element, array: &'a dyn Array, context: Context) -> Option<Append<'a>> {
    let lists = Lists::of(array, context, |values| bind(&element.kind, values, context))?;
    Some(Box::new(move |index, row| {
        row.nested(|row| {
            let dimensions = lists.dimensions(index)?;
            row.part(&(dimensions.count as i32).to_be_bytes());
            // The server looks for NULLs itself.
            row.part(&0i32.to_be_bytes());
            row.part(&element.oid.to_be_bytes());
            for length in &dimensions.lengths[..dimensions.count] {
                row.part(&(*length as i32).to_be_bytes());
                row.part(&1i32.to_be_bytes());
            }
            lists.walk(index, &dimensions, &mut |step| match step {
                Step::Element(at, append) => {
                    context.check_size(row.row_bytes())?;
                    append_or_null(append, at, row)
                }
                Step::Open | Step::Next | Step::Close => Ok(()),
            })
        })
    }))
}

fn append_or_null(append: Option<&Append<'_>>, index: usize, row: &mut RowWriter) -> Result<(), FieldError> {
    match append {
        Some(append) => append(index, row),
        None => {
            row.null();
            Ok(())
        }
    }
}

/// `record_recv`: the number of attributes, then type and value of each. An attribute that is not given is NULL.
pub(super) fn composite<'a>(attributes: &'a [Attribute], array: &'a dyn Array, context: Context) -> Option<Append<'a>> {
    let names = attributes.iter().map(|attribute| attribute.name.as_str());
    let fields = fields_by_name(array.as_struct_opt()?, names)?.into_iter().zip(attributes);
    let way = |(field, attribute): (Option<&'a ArrayRef>, &'a Attribute)| match field {
        Some(field) => Some((attribute.oid, Some(Nullable::new(field, bind(&attribute.kind, field.as_ref(), context)?)))),
        None => Some((attribute.oid, None)),
    };
    let fields: Vec<_> = fields.map(way).collect::<Option<_>>()?;
    Some(Box::new(move |index, row| {
        row.nested(|row| {
            row.part(&(fields.len() as i32).to_be_bytes());
            for (oid, field) in &fields {
                row.part(&oid.to_be_bytes());
                append_or_null(field.as_ref().and_then(|field| field.get(index)), index, row)?;
                context.check_size(row.row_bytes())?;
            }
            Ok(())
        })
    }))
}

/// The struct's field of each name; `None` if it has one of another name, or two of the same.
pub(super) fn fields_by_name<'a, 'n>(array: &'a StructArray, names: impl Iterator<Item = &'n str>) -> Option<Vec<Option<&'a ArrayRef>>> {
    let fields: Vec<_> = names.map(|name| array.column_by_name(name)).collect();
    let found = fields.iter().flatten().count();
    (found == array.num_columns()).then_some(fields)
}

/// `hstore_recv`: the number of pairs, then length and bytes of each key and each value.
pub(super) fn hstore(array: &dyn Array, context: Context) -> Option<Append<'_>> {
    let map = Pairs::of(array)?;
    let values = Nullable::new(map.values, bind(&TEXT, map.values, context)?);
    let keys = bind(&TEXT, map.array.keys().as_ref(), context)?;
    Some(Box::new(move |index, row| {
        let pairs = map.pairs(index)?;
        row.nested(|row| {
            row.part(&(pairs.len() as i32).to_be_bytes());
            for at in pairs {
                keys(at, row)?;
                append_or_null(values.get(at), at, row)?;
                context.check_size(row.row_bytes())?;
            }
            Ok(())
        })
    }))
}

/// A map with strings for its keys.
pub(super) struct Pairs<'a> {
    array: &'a MapArray,
    pub(super) key: super::Strings<'a>,
    pub(super) values: &'a dyn Array,
}

impl<'a> Pairs<'a> {
    pub(super) fn of(array: &'a dyn Array) -> Option<Pairs<'a>> {
        let array = array.as_map_opt()?;
        Some(Pairs { array, key: strings(array.keys().as_ref())?, values: array.values().as_ref() })
    }

    /// Where the pairs of a map lie. A key that comes twice would lose a value.
    pub(super) fn pairs(&self, index: usize) -> Result<Range<usize>, FieldError> {
        let offsets = self.array.value_offsets();
        let pairs = offsets[index] as usize..offsets[index + 1] as usize;
        let mut seen = HashSet::with_capacity(pairs.len());
        if pairs.clone().all(|at| seen.insert((self.key)(at))) {
            return Ok(pairs);
        }
        Err(FieldError::refused("22023", "a key comes more than once in the map"))
    }
}

/// Lists in each of their layouts.
pub(super) fn list(array: &dyn Array) -> Option<&dyn ListLikeArray> {
    Some(match array.data_type() {
        DataType::List(_) => array.as_list::<i32>(),
        DataType::LargeList(_) => array.as_list::<i64>(),
        DataType::FixedSizeList(..) => array.as_fixed_size_list(),
        DataType::ListView(_) => array.as_list_view::<i32>(),
        DataType::LargeListView(_) => array.as_list_view::<i64>(),
        _ => return None,
    })
}

/// Lists within lists, which are the dimensions of an array.
pub(super) struct Lists<'a, W> {
    levels: Vec<&'a dyn ListLikeArray>,
    elements: Nullable<W>,
    context: Context,
}

/// The lengths of an array's dimensions; an empty array has none.
pub(super) struct Dimensions {
    lengths: [usize; DIMENSIONS_MAX],
    count: usize,
}

/// What comes next in an array.
pub(super) enum Step<'w, W> {
    /// a list within the list begins
    Open,
    /// the next of several begins
    Next,
    /// the element at this place, or NULL
    Element(usize, Option<&'w W>),
    /// a list within the list ends
    Close,
}

impl<'a, W> Lists<'a, W> {
    /// A list is a dimension only where the elements are no lists themselves (JSON, a domain over an array).
    pub(super) fn of(array: &'a dyn Array, context: Context, element: impl Fn(&'a dyn Array) -> Option<W>) -> Option<Lists<'a, W>> {
        let mut levels = vec![list(array)?];
        loop {
            let values: &dyn Array = levels.last()?.values().as_ref();
            if let Some(way) = element(values) {
                return Some(Lists { levels, elements: Nullable::new(values, way), context });
            }
            if levels.len() == DIMENSIONS_MAX {
                return None;
            }
            levels.push(list(values)?);
        }
    }

    /// The dimensions of one array, by the first list of each level.
    pub(super) fn dimensions(&self, index: usize) -> Result<Dimensions, FieldError> {
        let mut dimensions = Dimensions { lengths: [0; DIMENSIONS_MAX], count: 0 };
        let mut place = index;
        let mut elements = 1usize;
        for (level, list) in self.levels.iter().enumerate() {
            let range = list.element_range(place);
            match (range.len(), level) {
                (0, 0) => return Ok(dimensions),
                (0, _) => return Err(no_array("a list in it is empty")),
                (length, _) => dimensions.lengths[level] = length,
            }
            dimensions.count += 1;
            elements = elements.saturating_mul(range.len());
            place = range.start;
            self.check_not_null(level + 1, place)?;
        }
        // Lists may share their elements: without this, a small message could ask for years of work.
        self.context.check_size(elements.saturating_mul(4))?;
        Ok(dimensions)
    }

    /// Takes all steps through one array, and holds every list to the dimensions.
    pub(super) fn walk<'w>(
        &'w self,
        index: usize,
        dimensions: &Dimensions,
        take: &mut impl FnMut(Step<'w, W>) -> Result<(), FieldError>,
    ) -> Result<(), FieldError> {
        self.walk_level(0, index, dimensions, take)
    }

    fn walk_level<'w>(
        &'w self,
        level: usize,
        index: usize,
        dimensions: &Dimensions,
        take: &mut impl FnMut(Step<'w, W>) -> Result<(), FieldError>,
    ) -> Result<(), FieldError> {
        let range = self.levels[level].element_range(index);
        if range.len() != dimensions.lengths[level] {
            return Err(no_array("the lists in it are of different lengths"));
        }
        for (nth, at) in range.enumerate() {
            if nth > 0 {
                take(Step::Next)?;
            }
            if level + 1 == self.levels.len() {
                take(Step::Element(at, self.elements.get(at)))?;
                continue;
            }
            self.check_not_null(level + 1, at)?;
            take(Step::Open)?;
            self.walk_level(level + 1, at, dimensions, take)?;
            take(Step::Close)?;
        }
        Ok(())
    }

    fn check_not_null(&self, level: usize, index: usize) -> Result<(), FieldError> {
        match self.levels.get(level) {
            Some(list) if list.is_null(index) => Err(no_array("a list in it is NULL")),
            _ => Ok(()),
        }
    }
}

/// In the code of `array_in` for arrays that are not rectangular.
#[cold]
fn no_array(why: &str) -> FieldError {
    FieldError::refused("22P02", format!("a PostgreSQL array cannot hold the list: {why}"))
}
