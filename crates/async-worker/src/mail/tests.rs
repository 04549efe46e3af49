use quintet_testkit::{FakeClock, TestDatabase, databases};
use serde_json::json;

use super::*;

mod delivery;
mod messages;
mod server;
mod signatures;
mod suppressing;
mod texts;

fn args(key: &str) -> Args {
    serde_json::from_value(json!({
        "to": "ada@example.com",
        "template": "receipt",
        "message_key": key,
        "context": {
            "customer": {"name": "Ada <script>", "email": "ada@example.com"},
            "customer_name": "Ada",
            "order": {"id": key, "placed_at": "2026-03-01T12:00:00Z", "invoice_number": "INV-2026-000001", "currency": "EUR"},
            "lines": [{"sku": "MUG", "name": "Mug & spoon", "quantity": 2, "unit_amount": 625, "unit_price": "6.25", "amount": 1250, "total": "12.50"}],
            "totals": {"amount": 1250, "currency": "EUR", "total": "12.50"},
        },
    }))
    .unwrap()
}

/// A sender over `transport` with a suppression list of its own in `database`.
async fn sender(database: &TestDatabase, transport: Transport) -> EmailSend {
    database.store.migrate(&[&SCHEMA]).await.unwrap();
    let clock = FakeClock::default().shared();
    EmailSend {
        transport,
        templates: Templates::load(None).unwrap(),
        from: "Shop <shop@example.com>".parse().unwrap(),
        signers: Vec::new(),
        suppressions: Suppressions::new(database.store.clone(), clock.clone()),
        clock,
    }
}

/// The first of the databases, for what has nothing to do with one.
async fn any_database() -> TestDatabase {
    databases().await.into_iter().next().unwrap()
}

/// A sender into a maildir.
async fn filing(database: &TestDatabase, dir: &std::path::Path) -> (EmailSend, Maildir) {
    let maildir = Maildir::open(dir).await.unwrap();
    (sender(database, Transport::Maildir(maildir.clone())).await, maildir)
}
