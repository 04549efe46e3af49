//! Which exit code tells the operator where to look.

use quintet_service::{Code, StartError};
use quintet_store::Error;

/// A failure of the database at start, with the exit code it means.
pub fn start_error(error: Error) -> StartError {
    StartError::new(code(&error), anyhow::Error::new(error).context("cannot use the database"))
}

/// No arm for the rest: whoever adds an error to the store decides here what an operator is told.
fn code(error: &Error) -> Code {
    match error {
        Error::Settings(_) | Error::NewerSchema { .. } | Error::EditedMigration { .. } => Code::Config,
        Error::Unavailable(_) | Error::Busy(_) => Code::Unavailable,
        Error::Full(_) => Code::CannotCreate,
        Error::Migration { source, .. } => code(source),
        Error::Conflict { .. }
        | Error::ForeignKey
        | Error::Check { .. }
        | Error::Decode { .. }
        | Error::RowMissing
        | Error::Database(_) => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_of_the_store_ends_the_process_with_its_code() {
        let check = |error: Error, expected: Code| {
            let text = format!("{error:?}");
            let found = start_error(error);
            assert_eq!(found.code(), expected, "{text}");
            assert_eq!(found.to_string(), "cannot use the database");
        };
        let driver = || "no connection came free".into();
        let migration = |source| Error::Migration { module: "users", version: 2, source: Box::new(source) };
        check(Error::Settings("database.url must start with sqlite: or postgres:".to_owned()), Code::Config);
        check(Error::NewerSchema { module: "users", found: 3, needs: 3, known: 2 }, Code::Config);
        check(Error::EditedMigration { module: "users", version: 1 }, Code::Config);
        check(Error::Unavailable(driver()), Code::Unavailable);
        check(Error::Busy(driver()), Code::Unavailable);
        check(Error::Full(driver()), Code::CannotCreate);
        check(migration(Error::Full(driver())), Code::CannotCreate);
        check(migration(Error::Busy(driver())), Code::Unavailable);
        check(migration(Error::Database(driver())), Code::Internal);
        check(Error::Conflict { constraint: "users_accounts.email".to_owned() }, Code::Internal);
        check(Error::ForeignKey, Code::Internal);
        check(Error::Check { constraint: "quantity".to_owned() }, Code::Internal);
        check(Error::Decode { column: "id", source: "no id".into() }, Code::Internal);
        check(Error::RowMissing, Code::Internal);
        check(Error::Database(driver()), Code::Internal);
    }
}
