//! What is said about a record that is bad as a whole.

use super::origin;
use super::scan::Record;
use crate::encode::FieldError;
use crate::error::{Position, RowError};
use crate::ingest::rows::{Halt, Rows, looks_like, shorten};

#[cold]
pub(super) fn not_text(record: &Record<'_>, error: FieldError) -> Halt {
    let reason = match error {
        FieldError::Refused { reason, .. } => reason,
        FieldError::NotMine => "not text".into(),
    };
    let error = RowError {
        position: origin(record).into(),
        value: None,
        type_name: None,
        sqlstate: "22021".into(),
        reason: format!("{reason}; a body is UTF-8 unless encoding= says otherwise{}", looks_like(record.bytes())).into(),
    };
    error.into()
}

/// In the words of COPY: which column lacks data, or what there is too much.
#[cold]
pub(super) fn wrong_field_count(record: &Record<'_>, rows: &Rows<'_>) -> Halt {
    let (found, expected) = (record.len(), rows.targets.len());
    let mut position = Position::from(origin(record));
    let reason = match rows.targets.get(found) {
        Some(target) => {
            let column = rows.table.columns[target.index].name.clone();
            let reason = format!("missing data for column \"{column}\": the record has {found} fields, not {expected}");
            position.column = Some(column);
            reason
        }
        None => format!("extra data after last expected column: the record has {found} fields, not {expected}"),
    };
    let error = RowError {
        position,
        value: Some(shorten(&String::from_utf8_lossy(record.bytes()))),
        type_name: None,
        sqlstate: "22P04".into(),
        reason: reason.into(),
    };
    error.into()
}
