//! What of billing can be exported.

use quintet_module::Report;
use quintet_module::report::Column::{Instant, Integer, Text};
use quintet_store::Sql;

/// The module's reports.
pub static REPORTS: &[Report] = &[
    Report {
        name: "invoices",
        about: "Invoices, without their lines",
        scope: "billing:read",
        columns: &[Text("id"), Text("number"), Text("status"), Text("account_id"), Text("reference"), Text("currency"), Integer("total"), Instant("issued_at")],
        rows: Sql::one(
            "SELECT id, number, status, account_id, reference, currency, total, issued_at
             FROM billing_invoices
             WHERE organization_id = $1 AND issued_at >= $2 AND issued_at < $3 AND id > $4 ORDER BY id LIMIT $5",
        ),
    },
    Report {
        name: "ledger",
        about: "Transfers between the accounts of the books",
        scope: "billing:read",
        columns: &[Text("id"), Text("debit_account"), Text("credit_account"), Integer("amount"), Text("currency"), Text("reference"), Instant("created_at")],
        rows: Sql::one(
            "SELECT id, debit_account, credit_account, amount, currency, reference, created_at
             FROM billing_transfers
             WHERE organization_id = $1 AND created_at >= $2 AND created_at < $3 AND id > $4 ORDER BY id LIMIT $5",
        ),
    },
    Report {
        name: "prices",
        about: "Prices, those that were superseded too",
        scope: "billing:read",
        columns: &[Text("id"), Text("item_id"), Integer("amount"), Text("currency"), Instant("created_at"), Instant("superseded_at")],
        rows: Sql::one(
            "SELECT id, item_id, amount, currency, created_at, superseded_at
             FROM billing_prices
             WHERE organization_id = $1 AND created_at >= $2 AND created_at < $3 AND id > $4 ORDER BY id LIMIT $5",
        ),
    },
];
