//! Values that a statement is given, and rows that come of it, the same for both databases.
//! Prints no value.

use std::fmt;

use sqlx::postgres::PgRow;
use sqlx::query::Query;
use sqlx::sqlite::SqliteRow;
use sqlx::{Database, Encode, Row as _, Type};

use super::StoreError;
use super::pool::of;

/// One body for both databases.
macro_rules! either {
    ($kind:ident, $of:expr, $one:ident => $body:expr) => {
        match $of {
            $kind::Sqlite($one) => $body,
            $kind::Postgres($one) => $body,
        }
    };
}
pub(super) use either;

/// What takes the place of `$1`.
#[derive(Clone)]
pub enum Value {
    Text(Option<String>),
    Number(Option<i64>),
    Bytes(Option<Vec<u8>>),
}

/// A row of an answer; columns by their place, from 0.
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// Values of different types, in the order of `$1`, `$2`…
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::Value::from($value)),*] };
}
pub(crate) use values;

pub(super) fn bound<'q, DB>(sql: &'static str, values: Vec<Value>) -> Query<'q, DB, DB::Arguments>
where
    DB: Database,
    Option<String>: Encode<'q, DB> + Type<DB>,
    Option<i64>: Encode<'q, DB> + Type<DB>,
    Option<Vec<u8>>: Encode<'q, DB> + Type<DB>,
{
    values.into_iter().fold(sqlx::query(sql), |query, value| match value {
        Value::Text(text) => query.bind(text),
        Value::Number(number) => query.bind(number),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

impl Row {
    pub fn text(&self, column: usize) -> Result<String, StoreError> {
        self.str(column).map(str::to_owned)
    }

    pub fn str(&self, column: usize) -> Result<&str, StoreError> {
        either!(Self, self, row => row.try_get_unchecked(column)).map_err(|error| of(&error))
    }

    pub fn str_or_none(&self, column: usize) -> Result<Option<&str>, StoreError> {
        either!(Self, self, row => row.try_get_unchecked(column)).map_err(|error| of(&error))
    }

    pub fn text_or_none(&self, column: usize) -> Result<Option<String>, StoreError> {
        Ok(self.str_or_none(column)?.map(str::to_owned))
    }

    pub fn number(&self, column: usize) -> Result<i64, StoreError> {
        either!(Self, self, row => row.try_get_unchecked(column)).map_err(|error| of(&error))
    }

    pub fn number_or_none(&self, column: usize) -> Result<Option<i64>, StoreError> {
        either!(Self, self, row => row.try_get_unchecked(column)).map_err(|error| of(&error))
    }

    pub fn flag(&self, column: usize) -> Result<bool, StoreError> {
        Ok(self.number(column)? != 0)
    }

    pub fn slice(&self, column: usize) -> Result<&[u8], StoreError> {
        either!(Self, self, row => row.try_get_unchecked(column)).map_err(|error| of(&error))
    }

    pub fn bytes(&self, column: usize) -> Result<Vec<u8>, StoreError> {
        either!(Self, self, row => row.try_get_unchecked(column)).map_err(|error| of(&error))
    }

    pub fn bytes_or_none(&self, column: usize) -> Result<Option<Vec<u8>>, StoreError> {
        either!(Self, self, row => row.try_get_unchecked(column)).map_err(|error| of(&error))
    }
}

macro_rules! from {
    ($kind:ident: $($type:ty => |$value:ident| $made:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                Self::$kind($made)
            }
        })*
    };
}

from! { Text:
    &str => |value| Some(value.to_owned());
    &String => |value| Some(value.clone());
    String => |value| Some(value);
    Option<&str> => |value| value.map(str::to_owned);
    Option<String> => |value| value;
}
from! { Number:
    i64 => |value| Some(value);
    u32 => |value| Some(value.into());
    bool => |value| Some(value.into());
    Option<i64> => |value| value;
}
from! { Bytes:
    &[u8] => |value| Some(value.to_owned());
    Vec<u8> => |value| Some(value);
    Option<Vec<u8>> => |value| value;
    Option<&[u8]> => |value| value.map(<[u8]>::to_vec);
}

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Value(…)")
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Row(…)")
    }
}
