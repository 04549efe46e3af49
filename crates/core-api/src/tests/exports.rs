//! Exports: asked for, written by their job, fetched by those who may read the rows.

use std::sync::Arc;

use axum::http::Method;
use quintet_exports::{Exports, ReportExport};
use quintet_jobs::Worker;
use quintet_module::Report;
use serde_json::{Value, json};

use super::{Answer, Api, apis};

/// Runs queued exports, as the worker does.
async fn work(api: &Api) -> usize {
    let modules = [
        quintet_users::REPORTS,
        quintet_inventory::REPORTS,
        quintet_billing::REPORTS,
        quintet_orders::REPORTS,
    ];
    let reports: Vec<&'static Report> = modules.into_iter().flatten().collect();
    let exports = Exports::new(api.store.clone(), api.blobs.clone(), api.shared_clock(), reports);
    let handler = Arc::new(ReportExport::new(exports));
    let settings = quintet_jobs::Settings::default();
    let worker = Worker::new(api.store.clone(), api.shared_clock(), settings, vec![handler]);
    worker.run_until_idle().await.unwrap()
}

async fn ask(api: &Api, report: &str, format: &str) -> String {
    let export = json!({ "report": report, "format": format });
    api.post("/api/v1/exports", export).await.expect(202).text("id")
}

async fn file(api: &Api, export: &str) -> Answer {
    api.get(&format!("/api/v1/exports/{export}/file")).await
}

fn lines(answer: &Answer) -> Vec<String> {
    String::from_utf8(answer.bytes.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn an_export_is_written_in_the_background_and_fetched_as_a_file() {
    for api in apis().await {
        let ids = [api.user("a@example.com").await, api.user("b@example.com").await];
        let export = ask(&api, "accounts", "csv").await;
        file(&api, &export).await.refused(404, "export_pending");
        // What comes after it was asked for is not in it.
        api.user("late@example.com").await;
        assert_eq!(work(&api).await, 1);

        let shown = api.get(&format!("/api/v1/exports/{export}")).await.expect(200).json();
        assert_eq!((&shown["state"], &shown["rows"]), (&"ready".into(), &2.into()), "{}", api.name);
        let csv = file(&api, &export).await.expect(200);
        assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8; header=present");
        assert!(csv.header("content-disposition").starts_with("attachment; filename=\"accounts-"));
        assert_eq!(shown["size_bytes"], csv.bytes.len());
        let csv = lines(&csv);
        assert_eq!(csv[0], "id,email,name,version,created_at,updated_at");
        assert_eq!(csv.len(), 3, "{csv:?}");
        assert!(csv[1].starts_with(&format!("{},a@example.com,Ann Lee,1,", ids[0])), "{csv:?}");
        assert!(csv[2].starts_with(&format!("{},b@example.com,", ids[1])), "{csv:?}");
    }
}

#[tokio::test]
async fn every_report_can_be_exported_in_each_format_and_holds_what_the_api_shows() {
    for api in apis().await {
        let (account, item) = (api.user("ann@example.com").await, api.item("MUG", 5).await);
        let order = super::one_of(&account, &item);
        api.order("first-order-key", &order).await.expect(201);
        let reports = api.get("/api/v1/reports").await.expect(200).json();
        let reports = reports["items"].as_array().unwrap();
        assert_eq!(reports.len(), 7, "{reports:?}");
        for report in reports {
            let name = report["name"].as_str().unwrap();
            let (csv, jsonl) = (ask(&api, name, "csv").await, ask(&api, name, "jsonl").await);
            assert_eq!(work(&api).await, 2, "{}: {name}", api.name);
            let csv = lines(&file(&api, &csv).await.expect(200));
            let columns: Vec<&str> =
                report["columns"].as_array().unwrap().iter().map(|column| column.as_str().unwrap()).collect();
            assert_eq!(csv[0], columns.join(","));
            let rows: Vec<Value> = lines(&file(&api, &jsonl).await.expect(200))
                .iter()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert!(!rows.is_empty() && rows.len() == csv.len() - 1, "{}: {name}: {csv:?}", api.name);
            assert_eq!(rows[0].as_object().unwrap().len(), columns.len());
        }
        let ledger = ask(&api, "ledger", "jsonl").await;
        work(&api).await;
        let booked: Value = serde_json::from_str(&lines(&file(&api, &ledger).await)[0]).unwrap();
        assert_eq!((&booked["amount"], &booked["currency"]), (&1250.into(), &"EUR".into()));
    }
}

#[tokio::test]
async fn more_rows_than_a_page_come_whole_and_in_order() {
    for api in apis().await {
        let item = api.item("MUG", 0).await;
        let rows: Vec<String> = (0..2_500)
            .map(|number| format!("('mov_{number:026}','{item}','adjust',0,0,0,0,'','usr_tester',{number})"))
            .collect();
        let sql = format!(
            "INSERT INTO inventory_movements (id, item_id, kind, on_hand_delta, reserved_delta, on_hand, reserved,
                reason, actor, created_at) VALUES {}",
            rows.join(",")
        );
        let mut tx = api.store.begin().await.unwrap();
        tx.execute(quintet_store::Sql::dynamic(sql), vec![]).await.unwrap();
        tx.commit().await.unwrap();
        let export = ask(&api, "movements", "csv").await;
        work(&api).await;
        let csv = lines(&file(&api, &export).await.expect(200));
        assert_eq!(csv.len(), 2_501, "{}", api.name);
        let sorted = csv[1..].windows(2).all(|pair| pair[0] < pair[1]);
        assert!(sorted, "{}: each row once, in order", api.name);
    }
}

#[tokio::test]
async fn who_may_not_read_the_rows_gets_no_export_of_them() {
    let api = apis().await.remove(0);
    api.user("a@example.com").await;
    let export = ask(&api, "accounts", "csv").await;
    work(&api).await;
    let bearer = api.issuer.bearer("usr_tester", &["exports:read", "exports:write", "orders:read"]);
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let body = json!({ "report": "accounts", "format": "csv" }).to_string();
    api.send(Method::POST, "/api/v1/exports", &headers, body).await.refused(403, "scope_missing");
    let path = format!("/api/v1/exports/{export}/file");
    api.send(Method::GET, &path, &headers, "").await.refused(403, "scope_missing");
    let body = json!({ "report": "orders", "format": "csv" }).to_string();
    api.send(Method::POST, "/api/v1/exports", &headers, body).await.expect(202);
}

#[tokio::test]
async fn an_unknown_report_and_a_range_that_ends_before_it_begins_are_refused() {
    let api = apis().await.remove(0);
    let unknown = json!({ "report": "secrets", "format": "csv" });
    api.post("/api/v1/exports", unknown).await.refused(422, "unknown_report");
    let backwards = json!({ "report": "orders", "format": "csv",
        "from": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z" });
    api.post("/api/v1/exports", backwards).await.refused(422, "invalid_export");
}
