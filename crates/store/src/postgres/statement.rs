//! Statements that take many rows at once: each column an array, put together by `unnest`.
//!
//! A statement is made of [`Part`]s, of which only those with rows are sent, so a batch that only
//! appends events does not pay for timers. The text depends on nothing but which parts there are;
//! a connection prepares each text once.

use std::borrow::Cow;

use tokio_postgres::types::ToSql;

/// A part of a statement that takes rows.
pub(super) struct Part {
    /// The columns and their types.
    pub(super) columns: &'static [(&'static str, Kind)],
    /// What is done with the rows, which stand at `{rows}` under the name `r`.
    pub(super) sql: &'static str,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Big,
    Bool,
    Text,
    Bytes,
}

/// One value of a row.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Int(i32),
    Big(i64),
    MaybeBig(Option<i64>),
    Bool(bool),
    Text(String),
    MaybeText(Option<String>),
    Bytes(Cow<'a, [u8]>),
    MaybeBytes(Option<Cow<'a, [u8]>>),
}

/// Rows for a part.
pub(super) struct Rows<'a> {
    part: &'static Part,
    columns: Vec<Column<'a>>,
    count: usize,
}

enum Column<'a> {
    Int(Vec<i32>),
    Big(Vec<Option<i64>>),
    Bool(Vec<bool>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Cow<'a, [u8]>>>),
}

/// The parameters of a statement, in order.
pub(super) type Parameters<'a> = Vec<&'a (dyn ToSql + Sync)>;

impl<'a> Rows<'a> {
    pub(super) fn of(part: &'static Part) -> Self {
        let column = |(_, kind): &(_, Kind)| match kind {
            Kind::Int => Column::Int(Vec::new()),
            Kind::Big => Column::Big(Vec::new()),
            Kind::Bool => Column::Bool(Vec::new()),
            Kind::Text => Column::Text(Vec::new()),
            Kind::Bytes => Column::Bytes(Vec::new()),
        };
        Self {
            part,
            columns: part.columns.iter().map(column).collect(),
            count: 0,
        }
    }

    /// Adds a row: a value for each column, of its type.
    pub(super) fn push<R>(&mut self, row: R)
    where
        R: IntoIterator<Item = Value<'a>, IntoIter: ExactSizeIterator>,
    {
        let row = row.into_iter();
        assert_eq!(row.len(), self.columns.len(), "a value for each column");
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.push(value);
        }
        self.count += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The part's text, its parameters numbered from `first`.
    pub(super) fn sql(&self, first: usize) -> String {
        let mut arrays = Vec::new();
        let mut names = Vec::new();
        for (number, (name, kind)) in (first..).zip(self.part.columns) {
            let kind = match kind {
                Kind::Int => "int4",
                Kind::Big => "int8",
                Kind::Bool => "bool",
                Kind::Text => "text",
                Kind::Bytes => "bytea",
            };
            arrays.push(format!("${number}::{kind}[]"));
            names.push(*name);
        }
        let rows = format!("unnest({}) AS r({})", arrays.join(","), names.join(","));
        self.part.sql.replace("{rows}", &rows)
    }

    /// How many parameters it has.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    pub(super) fn parameters(&self) -> impl Iterator<Item = &(dyn ToSql + Sync)> {
        self.columns.iter().map(Column::parameter)
    }
}

impl<'a> Column<'a> {
    fn push(&mut self, value: Value<'a>) {
        match (self, value) {
            (Self::Int(column), Value::Int(value)) => column.push(value),
            (Self::Big(column), Value::Big(value)) => column.push(Some(value)),
            (Self::Big(column), Value::MaybeBig(value)) => column.push(value),
            (Self::Bool(column), Value::Bool(value)) => column.push(value),
            (Self::Text(column), Value::Text(value)) => column.push(Some(value)),
            (Self::Text(column), Value::MaybeText(value)) => column.push(value),
            (Self::Bytes(column), Value::Bytes(value)) => column.push(Some(value)),
            (Self::Bytes(column), Value::MaybeBytes(value)) => column.push(value),
            (_, value) => unreachable!("{value:?} stands in a column of another type"),
        }
    }

    fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Int(column) => column,
            Self::Big(column) => column,
            Self::Bool(column) => column,
            Self::Text(column) => column,
            Self::Bytes(column) => column,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PART: Part = Part {
        columns: &[("slot", Kind::Int), ("value", Kind::Bytes)],
        sql: "INSERT INTO t SELECT slot, value FROM {rows}",
    };

    #[test]
    fn rows_become_arrays() {
        let mut rows = Rows::of(&PART);
        assert!(rows.is_empty());
        rows.push([Value::Int(1), Value::MaybeBytes(None)]);
        assert_eq!(
            rows.sql(4),
            "INSERT INTO t SELECT slot, value FROM \
             unnest($4::int4[],$5::bytea[]) AS r(slot,value)"
        );
        assert_eq!((rows.parameters().count(), rows.width()), (2, 2));
        assert!(!rows.is_empty());
    }
}
