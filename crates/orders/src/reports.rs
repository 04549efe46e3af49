//! What of orders can be exported.

use quintet_module::Report;
use quintet_module::report::Column::{Instant, Integer, Text};
use quintet_store::Sql;

/// The module's reports.
pub static REPORTS: &[Report] = &[
    Report {
        name: "orders",
        about: "Orders, with their invoices",
        scope: "orders:read",
        columns: &[Text("id"), Text("account_id"), Text("status"), Text("currency"), Integer("total"), Text("invoice_id"), Text("invoice_number"), Text("placed_by"), Instant("placed_at")],
        rows: Sql::one(
            "SELECT id, account_id, status, currency, total, invoice_id, invoice_number, placed_by, placed_at
             FROM orders_orders
             WHERE organization_id = $1 AND placed_at >= $2 AND placed_at < $3 AND id > $4 ORDER BY id LIMIT $5",
        ),
    },
];
