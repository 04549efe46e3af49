//! What of users can be exported.

use quintet_module::Report;
use quintet_module::report::Column::{Instant, Integer, Text};
use quintet_store::Sql;

/// The module's reports.
pub static REPORTS: &[Report] = &[
    Report {
        name: "accounts",
        about: "Accounts: who buys",
        scope: "users:read",
        columns: &[Text("id"), Text("email"), Text("name"), Integer("version"), Instant("created_at"), Instant("updated_at")],
        rows: Sql::one(
            "SELECT id, email, name, version, created_at, updated_at
             FROM users_accounts
             WHERE organization_id = $1 AND created_at >= $2 AND created_at < $3 AND id > $4 ORDER BY id LIMIT $5",
        ),
    },
];
