//! `GET /v1/tables/{table}`: what may be loaded, and how each column goes.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::{Extension, Json};
use serde::Serialize;

use super::Edge;
use super::options::Query;
use super::problem::Problem;
use crate::access::Caller;
use crate::engine::catalog::{self, Table};

#[derive(Debug, Serialize)]
pub(super) struct Description {
    table: String,
    columns: Vec<Column>,
}

#[derive(Debug, Serialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    type_name: String,
    nullable: bool,
    default: Option<String>,
    identity: Option<String>,
    generated: bool,
    /// `binary`: encoded here; `text`: read by the server; nothing for a generated column
    encoding: Option<&'static str>,
}

impl From<Table> for Description {
    fn from(table: Table) -> Description {
        let name = table.display_name();
        Description { table: name, columns: table.columns.into_iter().map(Column::from).collect() }
    }
}

impl From<catalog::Column> for Column {
    fn from(column: catalog::Column) -> Column {
        let encoding = match &column.kind {
            _ if column.generated => None,
            Some(_) => Some("binary"),
            None => Some("text"),
        };
        Column {
            name: column.name,
            type_name: column.type_name,
            nullable: column.nullable,
            default: column.default,
            identity: column.identity,
            generated: column.generated,
            encoding,
        }
    }
}

pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Description>, Problem> {
    Query::parse(query.as_deref())?.finish("none")?;
    let Path(table) = path.map_err(|error| Problem::bad_request("invalid-path", error.body_text()))?;
    Ok(Json(edge.conductor.table(&table, &caller).await?.into()))
}
