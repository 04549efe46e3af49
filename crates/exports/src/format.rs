//! How rows are written: CSV for spreadsheets, JSON Lines for programs.

use quintet_module::report::{Cell, Column};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// RFC 4180 with a line of names, in UTF-8. Text that a spreadsheet would take for a formula gets an apostrophe before it.
    Csv,
    /// One JSON object a line, exactly as the rows are.
    Jsonl,
}

impl Format {
    /// As it is stored and as a file's name ends.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }

    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl => "application/jsonl; charset=utf-8",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Csv, Self::Jsonl].into_iter().find(|format| format.as_str() == name)
    }

    /// What stands before the first row.
    pub(crate) fn head(self, columns: &[Column], out: &mut Vec<u8>) {
        if self == Self::Csv {
            let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
            out.extend_from_slice(names.join(",").as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }

    /// One row.
    pub(crate) fn row(self, columns: &[Column], cells: &[Cell], out: &mut Vec<u8>) {
        match self {
            Self::Csv => {
                for (position, cell) in cells.iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    csv(cell, out);
                }
                out.extend_from_slice(b"\r\n");
            }
            Self::Jsonl => {
                // By hand, because a map of values would sort the names.
                for (position, (column, cell)) in columns.iter().zip(cells).enumerate() {
                    out.push(if position == 0 { b'{' } else { b',' });
                    out.extend_from_slice(serde_json::Value::from(column.name()).to_string().as_bytes());
                    out.push(b':');
                    out.extend_from_slice(json(cell).to_string().as_bytes());
                }
                out.extend_from_slice(b"}\n");
            }
        }
    }
}

fn json(cell: &Cell) -> serde_json::Value {
    match cell {
        Cell::Nothing => serde_json::Value::Null,
        Cell::Text(text) => text.as_str().into(),
        Cell::Integer(number) => (*number).into(),
        Cell::Instant(instant) => instant.to_string().into(),
    }
}

fn csv(cell: &Cell, out: &mut Vec<u8>) {
    match cell {
        Cell::Nothing => {}
        Cell::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Cell::Instant(instant) => out.extend_from_slice(instant.to_string().as_bytes()),
        Cell::Text(text) => csv_text(text, out),
    }
}

/// Text that whoever made it may have chosen to be run by the spreadsheet of whoever opens it.
fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

fn csv_text(text: &str, out: &mut Vec<u8>) {
    let apostrophe = if is_formula(text) { "'" } else { "" };
    let plain = !text.contains(['"', ',', '\r', '\n']) && text.trim() == text;
    if plain {
        out.extend_from_slice(apostrophe.as_bytes());
        out.extend_from_slice(text.as_bytes());
    } else {
        let quoted = format!("\"{apostrophe}{}\"", text.replace('"', "\"\""));
        out.extend_from_slice(quoted.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use quintet_types::time::from_micros;

    use super::*;

    const COLUMNS: &[Column] = &[Column::Text("name"), Column::Integer("amount"), Column::Instant("at")];

    fn written(format: Format, name: &str) -> String {
        let mut out = Vec::new();
        let cells = [Cell::Text(name.to_owned()), Cell::Integer(-5), Cell::Instant(from_micros(1_500_000))];
        format.head(COLUMNS, &mut out);
        format.row(COLUMNS, &cells, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_quotes_what_would_end_a_value_and_disarms_what_a_spreadsheet_would_run() {
        let cases = [
            ("Ada", "Ada"),
            ("Ada, Countess", "\"Ada, Countess\""),
            ("6\" pipe", "\"6\"\" pipe\""),
            ("two\nlines", "\"two\nlines\""),
            (" spaces ", "\" spaces \""),
            ("", ""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+49 30", "'+49 30"),
            ("@cmd", "'@cmd"),
        ];
        for (name, field) in cases {
            let expected = format!("name,amount,at\r\n{field},-5,1970-01-01T00:00:01.5Z\r\n");
            assert_eq!(written(Format::Csv, name), expected);
        }
    }

    #[test]
    fn json_lines_hold_the_rows_as_they_are() {
        let line = written(Format::Jsonl, "=1+1");
        assert_eq!(line, "{\"name\":\"=1+1\",\"amount\":-5,\"at\":\"1970-01-01T00:00:01.5Z\"}\n");
    }

    #[test]
    fn nothing_is_an_empty_field_and_null() {
        let mut out = Vec::new();
        let cells = [Cell::Nothing, Cell::Nothing, Cell::Nothing];
        Format::Csv.row(COLUMNS, &cells, &mut out);
        Format::Jsonl.row(COLUMNS, &cells, &mut out);
        assert_eq!(out, b",,\r\n{\"name\":null,\"amount\":null,\"at\":null}\n");
    }
}
