//! Arguments of a statement.
//!
//! A NULL carries its type, because PostgreSQL types each parameter when it prepares.

use quintet_types::Timestamp;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::sql::{Dialect, Sql};

/// One argument; build a list of them with [`args!`](crate::args).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// BIGINT / INTEGER.
    Int(Option<i64>),
    /// DOUBLE PRECISION / REAL.
    Float(Option<f64>),
    /// TEXT.
    Text(Option<String>),
    /// BYTEA / BLOB.
    Bytes(Option<Vec<u8>>),
    /// BOOLEAN.
    Bool(Option<bool>),
    /// BIGINT[] on PostgreSQL, a JSON array for `json_each` on SQLite.
    Ints(Vec<i64>),
    /// TEXT[] on PostgreSQL, a JSON array for `json_each` on SQLite.
    Texts(Vec<String>),
    /// As [`Value::Texts`], with NULL among them.
    OptionalTexts(Vec<Option<String>>),
}

/// A list of arguments for a statement, in the order of its placeholders.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => {
        ::std::vec![$($crate::Value::from($value)),*]
    };
}

macro_rules! from_values {
    ($($variant:ident: $($source:ty => $convert:expr),+;)+) => {
        $($(
            impl From<$source> for Value {
                fn from(value: $source) -> Self {
                    let convert: fn($source) -> _ = $convert;
                    Self::$variant(Some(convert(value)))
                }
            }

            impl From<Option<$source>> for Value {
                fn from(value: Option<$source>) -> Self {
                    let convert: fn($source) -> _ = $convert;
                    Self::$variant(value.map(convert))
                }
            }
        )+)+
    };
}

from_values! {
    Int: i64 => |v| v, i32 => i64::from, i16 => i64::from, u32 => i64::from, u16 => i64::from, u8 => i64::from,
        Timestamp => quintet_types::time::micros;
    Float: f64 => |v| v;
    Bool: bool => |v| v;
    Text: String => |v| v, &str => str::to_owned, &String => String::clone,
        quintet_types::UserId => String::from, quintet_types::ItemId => String::from,
        quintet_types::PriceId => String::from, quintet_types::InvoiceId => String::from,
        quintet_types::OrderId => String::from, quintet_types::JobId => String::from,
        quintet_types::OrganizationId => String::from,
        quintet_types::Currency => |v| v.to_string();
    Bytes: Vec<u8> => |v| v, &[u8] => <[u8]>::to_vec;
}

impl From<Vec<i64>> for Value {
    fn from(values: Vec<i64>) -> Self {
        Self::Ints(values)
    }
}

impl From<Vec<String>> for Value {
    fn from(values: Vec<String>) -> Self {
        Self::Texts(values)
    }
}

pub(crate) type SqliteQuery = Query<'static, Sqlite, SqliteArguments>;

pub(crate) fn sqlite_query(sql: &Sql, args: Vec<Value>) -> SqliteQuery {
    let query = sqlx::query::<Sqlite>(sql.text(Dialect::Sqlite));
    args.into_iter().fold(query, |query, value| match value {
        Value::Int(value) => query.bind(value),
        Value::Float(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
        Value::Bool(value) => query.bind(value),
        Value::Ints(values) => query.bind(serde_json::json!(values).to_string()),
        Value::Texts(values) => query.bind(serde_json::json!(values).to_string()),
        Value::OptionalTexts(values) => query.bind(serde_json::json!(values).to_string()),
    })
}

impl Value {
    /// The type a statement is prepared with.
    pub(crate) fn postgres_type(&self) -> Type {
        match self {
            Self::Int(_) => Type::INT8,
            Self::Float(_) => Type::FLOAT8,
            Self::Text(_) => Type::TEXT,
            Self::Bytes(_) => Type::BYTEA,
            Self::Bool(_) => Type::BOOL,
            Self::Ints(_) => Type::INT8_ARRAY,
            Self::Texts(_) | Self::OptionalTexts(_) => Type::TEXT_ARRAY,
        }
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        wanted: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Int(value) => value.to_sql(wanted, out),
            Self::Float(value) => value.to_sql(wanted, out),
            Self::Text(value) => value.to_sql(wanted, out),
            Self::Bytes(value) => value.to_sql(wanted, out),
            Self::Bool(value) => value.to_sql(wanted, out),
            Self::Ints(values) => values.to_sql(wanted, out),
            Self::Texts(values) => values.to_sql(wanted, out),
            Self::OptionalTexts(values) => values.to_sql(wanted, out),
        }
    }

    /// A statement is prepared with the types of its arguments, so that they are what it takes.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
