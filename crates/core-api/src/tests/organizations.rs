//! Organizations: who may do what, what is unique within one, and what was there before them.

use axum::http::Method;
use quintet_store::{Module, args};
use quintet_testkit::databases;
use serde_json::{Value, json};

use super::{ALL_SCOPES, Answer, Api, apis, one_of};

/// A caller within one organization.
struct Caller<'a> {
    api: &'a Api,
    bearer: String,
    organization: String,
}

impl<'a> Caller<'a> {
    fn new(api: &'a Api, subject: &str, organization: &str) -> Self {
        let bearer = api.issuer.bearer(subject, ALL_SCOPES);
        Self { api, bearer, organization: organization.to_owned() }
    }

    /// Somebody with an organization of its own.
    async fn owner(api: &'a Api, subject: &str) -> Self {
        let mut caller = Self::new(api, subject, "org_00000000000000000000000000");
        let body = json!({ "name": subject });
        caller.organization =
            caller.send(Method::POST, "/api/v1/organizations", body).await.expect(201).text("id");
        caller
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Answer {
        let headers = [
            ("authorization", &*self.bearer),
            ("content-type", "application/json"),
            ("quintet-organization", &*self.organization),
            ("idempotency-key", "key"),
            ("if-match", "*"),
        ];
        self.api.send(method, path, &headers, body.to_string()).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Value::Null).await
    }

    async fn set(&self, subject: &str, role: &str) -> Answer {
        let path = format!("/api/v1/organizations/{}/members/{subject}", self.organization);
        self.send(Method::PUT, &path, json!({ "role": role })).await
    }

    async fn remove(&self, subject: &str) -> Answer {
        let path = format!("/api/v1/organizations/{}/members/{subject}", self.organization);
        self.send(Method::DELETE, &path, Value::Null).await
    }

    fn own(&self, rest: &str) -> String {
        format!("/api/v1/organizations/{}{rest}", self.organization)
    }

    /// Buys one new item; the order.
    async fn buy(&self) -> Value {
        let user = json!({ "email": "ann@example.com", "name": "Ann" });
        let user = self.post("/api/v1/users", user).await.expect(201).text("id");
        let item =
            self.post("/api/v1/items", json!({ "sku": "MUG", "name": "Mug" })).await.expect(201).text("id");
        let stock = json!({ "quantity": 5, "reason": "delivery" });
        self.post(&format!("/api/v1/items/{item}/stock"), stock).await.expect(201);
        let price = json!({ "item_id": item, "amount": 1250, "currency": "EUR" });
        self.post("/api/v1/prices", price).await.expect(201);
        self.post("/api/v1/orders", one_of(&user, &item)).await.expect(201).json()
    }
}

#[tokio::test]
async fn the_same_address_sku_and_invoice_number_may_be_in_each_organization() {
    for api in apis().await {
        // One person in two organizations, with the same idempotency key in both.
        let (a, b) = (Caller::owner(&api, "usr_ann").await, Caller::owner(&api, "usr_ann").await);
        let (first, second) = (a.buy().await, b.buy().await);
        assert_ne!(first["id"], second["id"], "{}", api.name);
        assert_eq!(first["invoice_number"], "INV-2026-000001");
        assert_eq!(second["invoice_number"], "INV-2026-000001");
        let again = json!({ "email": "ANN@example.com", "name": "Ann" });
        a.post("/api/v1/users", again).await.refused(409, "email_taken");
        a.post("/api/v1/items", json!({ "sku": "MUG", "name": "Mug" })).await.refused(409, "sku_taken");
        let organization = b.organization.parse().unwrap();
        let books = quintet_billing::balances(&api.store, organization).await.unwrap();
        assert_eq!(books[&("revenue".to_owned(), "EUR".to_owned())], -1250);
    }
}

#[tokio::test]
async fn an_organization_is_made_listed_and_renamed_by_its_owner() {
    for api in apis().await {
        let ann = Caller::owner(&api, "usr_ann").await;
        let listed = ann.get("/api/v1/organizations").await.expect(200).json();
        let names: Vec<&str> =
            listed["items"].as_array().unwrap().iter().map(|found| found["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["usr_ann", "Default organization"]);
        let renamed = ann.send(Method::PATCH, &ann.own(""), json!({ "name": "Ann Ltd" })).await.expect(200);
        assert_eq!((renamed.text("name"), renamed.header("etag")), ("Ann Ltd".to_owned(), "\"v2\""));
        ann.send(Method::PATCH, &ann.own(""), json!({ "name": " " }))
            .await
            .refused(422, "invalid_organization");
        ann.set("usr_bob", "member").await.expect(200);
        let bob = Caller::new(&api, "usr_bob", &ann.organization);
        bob.send(Method::PATCH, &ann.own(""), json!({ "name": "Bob" })).await.refused(403, "role_missing");
        bob.get(&ann.own("/invitations")).await.refused(403, "role_missing");
        let eve = Caller::new(&api, "usr_eve", &ann.organization);
        eve.get(&ann.own("")).await.refused(404, "not_found");
        eve.get("/api/v1/items").await.refused(404, "not_found");
        let wrong = Caller::new(&api, "usr_eve", "acme");
        wrong.get("/api/v1/items").await.refused(400, "invalid_organization");
    }
}

#[tokio::test]
async fn owners_are_made_by_owners_and_the_last_one_stays() {
    for api in apis().await {
        let ann = Caller::owner(&api, "usr_ann").await;
        ann.set("usr_bob", "admin").await.expect(200);
        let bob = Caller::new(&api, "usr_bob", &ann.organization);
        bob.set("usr_cid", "member").await.expect(200);
        bob.set("usr_cid", "owner").await.refused(403, "role_missing");
        bob.set("usr_ann", "viewer").await.refused(403, "role_missing");
        bob.remove("usr_ann").await.refused(403, "role_missing");
        ann.set("usr_ann", "member").await.refused(409, "last_owner");
        ann.remove("usr_ann").await.refused(409, "last_owner");
        ann.set("usr_bob", "owner").await.expect(200);
        ann.remove("usr_ann").await.expect(204);
        ann.get("/api/v1/items").await.refused(404, "not_found");
        bob.remove("usr_nobody").await.refused(404, "not_found");
        // A member may go by itself.
        Caller::new(&api, "usr_cid", &ann.organization).remove("usr_cid").await.expect(204);
        let members = bob.get(&bob.own("/members")).await.expect(200).json();
        assert_eq!(members["items"].as_array().unwrap().len(), 1, "{members}");
    }
}

#[tokio::test]
async fn an_invitation_is_accepted_once_until_it_expires_or_is_taken_back() {
    for api in apis().await {
        let ann = Caller::owner(&api, "usr_ann").await;
        let bob = Caller::new(&api, "usr_bob", &ann.organization);
        let invite = async || {
            let body = json!({ "role": "viewer", "note": "bob@example.com" });
            ann.post(&ann.own("/invitations"), body).await.expect(201).json()
        };
        let accept =
            async |secret: &Value| bob.post("/api/v1/invitations/accept", json!({ "secret": secret })).await;
        let first = invite().await;
        let listed = ann.get(&ann.own("/invitations")).await.expect(200).json();
        assert_eq!((&listed["items"][0]["id"], listed["items"][0].get("secret")), (&first["id"], None));
        bob.get("/api/v1/items").await.refused(404, "not_found");
        let accepted = accept(&first["secret"]).await.expect(200).json();
        assert_eq!(
            (&accepted["role"], &accepted["organization"]["id"]),
            (&json!("viewer"), &json!(ann.organization))
        );
        bob.get("/api/v1/items").await.expect(200);
        accept(&first["secret"]).await.refused(404, "not_found");

        let second = invite().await;
        let path = ann.own(&format!("/invitations/{}", second["id"].as_str().unwrap()));
        ann.send(Method::DELETE, &path, Value::Null).await.expect(204);
        accept(&second["secret"]).await.refused(404, "not_found");

        let third = invite().await;
        api.clock.advance(std::time::Duration::from_hours(7 * 24));
        let bob = Caller::new(&api, "usr_bob", &ann.organization);
        bob.post("/api/v1/invitations/accept", json!({ "secret": third["secret"] }))
            .await
            .refused(404, "not_found");
    }
}

#[tokio::test]
async fn what_was_there_before_belongs_to_the_default_organization() {
    for database in databases().await {
        let store = &database.store;
        let schemas = [
            &quintet_users::SCHEMA,
            &quintet_inventory::SCHEMA,
            &quintet_billing::SCHEMA,
            &quintet_orders::SCHEMA,
        ];
        let first = schemas.map(|schema| {
            &*Box::leak(Box::new(Module { name: schema.name, migrations: &schema.migrations[..1] }))
        });
        store.migrate(&first).await.unwrap();
        let old = [
            "INSERT INTO users_accounts VALUES ('usr_1', 'a@example.com', 'a@example.com', 'A', 1, 0, 0)",
            "INSERT INTO inventory_items (id, sku, name, description, on_hand, reserved, created_at, updated_at)
                 VALUES ('itm_1', 'MUG', 'Mug', '', 5, 1, 0, 0)",
            "INSERT INTO inventory_movements VALUES ('mov_1', 'itm_1', 'adjustment', 5, 0, 5, 0, 'r', 'a', 0)",
            "INSERT INTO billing_prices VALUES ('prc_1', 'itm_1', 'EUR', 1, 0, NULL)",
            "INSERT INTO billing_invoices VALUES ('inv_1', 'INV-1', 'usr_1', 'ord_1', 'EUR', 1, 'open', 0)",
            "INSERT INTO billing_invoice_lines VALUES ('inv_1', 1, 'itm_1', 'd', 1, 1, 1)",
            "INSERT INTO billing_transfers VALUES ('trf_1', 'a', 'b', 1, 'EUR', 'r', 0)",
            "INSERT INTO orders_orders VALUES ('ord_1', 'usr_1', 'EUR', 1, 'placed', 'inv_1', 'INV-1', 'a', 0)",
        ];
        for sql in old {
            let mut tx = store.begin().await.unwrap();
            tx.execute(sql, args![]).await.unwrap();
            tx.commit().await.unwrap();
        }
        store.migrate(&schemas).await.unwrap();
        let counted = store
            .fetch_one(
                "SELECT (SELECT COUNT(*) FROM users_accounts WHERE organization_id = $1)
                    + (SELECT COUNT(*) FROM inventory_items WHERE organization_id = $1)
                    + (SELECT COUNT(*) FROM inventory_movements m JOIN inventory_items i ON i.id = m.item_id)
                    + (SELECT COUNT(*) FROM billing_prices WHERE organization_id = $1)
                    + (SELECT COUNT(*) FROM billing_invoices WHERE organization_id = $1)
                    + (SELECT COUNT(*) FROM billing_invoice_lines l JOIN billing_invoices i ON i.id = l.invoice_id)
                    + (SELECT COUNT(*) FROM billing_transfers WHERE organization_id = $1)
                    + (SELECT COUNT(*) FROM orders_orders WHERE organization_id = $1) AS n",
                args!["org_00000000000000000000000000"],
            )
            .await
            .unwrap();
        assert_eq!(counted.get::<i64>("n").unwrap(), 8, "{}", database.name);
        // A release from before writes as it did, and its references are still checked.
        let mut tx = store.begin().await.unwrap();
        let stray = "INSERT INTO inventory_movements VALUES ('mov_2', 'itm_2', 'adjustment', 5, 0, 5, 0, 'r', 'a', 0)";
        let stray = match tx.execute(stray, args![]).await {
            Ok(_) => tx.commit().await,
            Err(error) => Err(error),
        };
        assert!(matches!(stray, Err(quintet_store::Error::ForeignKey)), "{}: {stray:?}", database.name);
    }
}
