//! What of the inventory can be exported.

use quintet_module::Report;
use quintet_module::report::Column::{Instant, Integer, Text};
use quintet_store::Sql;

/// The module's reports.
pub static REPORTS: &[Report] = &[
    Report {
        name: "items",
        about: "Items, and how many there are",
        scope: "inventory:read",
        columns: &[Text("id"), Text("sku"), Text("name"), Text("description"), Integer("on_hand"), Integer("reserved"), Instant("created_at"), Instant("updated_at")],
        rows: Sql::one(
            "SELECT id, sku, name, description, on_hand, reserved, created_at, updated_at
             FROM inventory_items
             WHERE organization_id = $1 AND created_at >= $2 AND created_at < $3 AND id > $4 ORDER BY id LIMIT $5",
        ),
    },
    Report {
        name: "movements",
        about: "Movements of stock, and the levels after each",
        scope: "inventory:read",
        columns: &[Text("id"), Text("item_id"), Text("kind"), Integer("on_hand_delta"), Integer("reserved_delta"), Integer("on_hand"), Integer("reserved"), Text("reason"), Text("actor"), Instant("created_at")],
        // A movement belongs to whom its item does.
        rows: Sql::one(
            "SELECT id, item_id, kind, on_hand_delta, reserved_delta, on_hand, reserved, reason, actor, created_at
             FROM inventory_movements
             WHERE item_id IN (SELECT id FROM inventory_items WHERE organization_id = $1)
               AND created_at >= $2 AND created_at < $3 AND id > $4 ORDER BY id LIMIT $5",
        ),
    },
];
