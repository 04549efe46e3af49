//! A machine as its clients and its operator see it: through the gateway, by tokens.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use xtask::gateway::{Answer, Gateway, SCOPES};

use super::Lab;
use super::credentials::{DEMO, OPERATOR};
use super::machine::Machine;

const NODE_SCOPES: &str = "node:read node:write";
const POLL: Duration = Duration::from_millis(500);
/// An emulated boot on a busy machine with two cores takes one to two minutes.
pub(super) const BOOT_WITHIN: Duration = Duration::from_mins(6);

pub(super) struct Clients<'a> {
    lab: &'a Lab,
    gateway: Gateway,
    runtime: Runtime,
    /// When the last update's progress was noted before the latest one was asked for.
    noted: RefCell<String>,
}

impl<'a> Clients<'a> {
    pub(super) fn new(lab: &'a Lab, machine: &Machine<'_>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the runtime")?;
        let gateway = Gateway::new(machine.https_port, &lab.credentials.layout.tls("ca.pem"))?;
        Ok(Self { lab, gateway, runtime, noted: RefCell::default() })
    }

    fn node(&self, method: &Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let secret = self.lab.credentials.secret(OPERATOR)?;
        self.runtime.block_on(async {
            let operator = self.gateway.sign_in_for(OPERATOR, &secret, NODE_SCOPES).await?;
            let headers: &[(&str, &str)] =
                if body.is_some() { &[("content-type", "application/json")] } else { &[] };
            let body = body.map(Value::to_string).unwrap_or_default();
            operator.send(method.clone(), path, headers, body).await?.success()
        })
    }

    pub(super) fn status(&self) -> anyhow::Result<Value> {
        Ok(self.node(&Method::GET, "/node/v1/status", None)?.json())
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.node(&Method::GET, path, None)?.json())
    }

    pub(super) fn update(&self, source: &str, reboot: bool) -> anyhow::Result<()> {
        text(&self.status()?, "/update/at").clone_into(&mut self.noted.borrow_mut());
        self.node(&Method::POST, "/node/v1/update", Some(&json!({ "source": source, "reboot": reboot })))?;
        Ok(())
    }

    pub(super) fn rollback(&self) -> anyhow::Result<()> {
        self.node(&Method::POST, "/node/v1/rollback", Some(&json!({ "reboot": true })))?;
        Ok(())
    }

    /// Waits until the node says something of itself that fits, and returns it.
    pub(super) fn wait_for(
        &self,
        machine: &mut Machine<'_>,
        what: &str,
        within: Duration,
        fits: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let begun = Instant::now();
        let mut last = String::from("it never answered");
        loop {
            machine.check()?;
            match self.status() {
                Ok(status) if fits(&status) => return Ok(status),
                Ok(status) => last = status.to_string(),
                Err(error) if last.starts_with("it never") => last = format!("it never answered: {error:#}"),
                Err(_) => {}
            }
            if begun.elapsed() > within {
                let console = machine.console();
                let lines: Vec<&str> = console.lines().rev().take(15).collect();
                let lines: Vec<&str> = lines.into_iter().rev().collect();
                bail!("{what}: not within {within:?}; {last}\nthe console ends with\n{}", lines.join("\n"));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until a generation runs and was found healthy.
    pub(super) fn healthy(&self, machine: &mut Machine<'_>, version: &str) -> anyhow::Result<Value> {
        self.wait_for(machine, &format!("generation {version} is healthy"), BOOT_WITHIN, |status| {
            text(status, "/running") == version && text(status, "/boots/0/outcome") == "healthy"
        })
    }

    /// Waits until the last update came to an end, whatever it was.
    pub(super) fn update_ended(&self, machine: &mut Machine<'_>, progress: &str) -> anyhow::Result<String> {
        let ended = |status: &Value| {
            let at = text(status, "/update/progress");
            let noted = text(status, "/update/at") == *self.noted.borrow();
            !noted && matches!(at, "installed" | "failed" | "current")
        };
        let status = self.wait_for(machine, "the update ends", Duration::from_mins(4), ended)?;
        let update = status.pointer("/update").unwrap_or(&Value::Null);
        ensure!(text(update, "/progress") == progress, "the update should be {progress}: {update}");
        Ok(text(update, "/reason").to_owned())
    }

    /// Orders one piece of an item that is made for it, or of the one that an earlier call made.
    pub(super) fn order(&self, shop: &mut Option<(String, String)>, key: &str) -> anyhow::Result<String> {
        let secret = self.lab.credentials.secret(DEMO)?;
        self.runtime.block_on(async {
            let demo = self.gateway.sign_in_for(DEMO, &secret, SCOPES).await?;
            if shop.is_none() {
                *shop = Some(open_shop(&demo).await?);
            }
            let (customer, item) = shop.as_ref().context("there is a shop")?;
            let body = json!({
                "account_id": customer, "currency": "EUR", "lines": [{ "item_id": item, "quantity": 1 }],
            });
            made(&demo, "/api/v1/orders", key, &body).await
        })
    }

    /// Fails unless the order is there.
    pub(super) fn has_order(&self, id: &str) -> anyhow::Result<()> {
        let secret = self.lab.credentials.secret(DEMO)?;
        self.runtime.block_on(async {
            let demo = self.gateway.sign_in_for(DEMO, &secret, SCOPES).await?;
            demo.get(&format!("/api/v1/orders/{id}"))
                .await?
                .success()
                .with_context(|| format!("the order {id}"))?;
            Ok(())
        })
    }
}

async fn open_shop(demo: &Gateway) -> anyhow::Result<(String, String)> {
    let customer = json!({ "email": "vm@example.com", "name": "vm" });
    let customer = made(demo, "/api/v1/users", "vm-user", &customer).await?;
    let item = made(demo, "/api/v1/items", "vm-item", &json!({ "sku": "VM", "name": "vm" })).await?;
    let price = json!({ "item_id": item, "amount": 100, "currency": "EUR" });
    made(demo, "/api/v1/prices", "vm-price", &price).await?;
    let stock = json!({ "quantity": 1000, "reason": "opening" });
    made(demo, &format!("/api/v1/items/{item}/stock"), "vm-stock", &stock).await?;
    Ok((customer, item))
}

async fn made(demo: &Gateway, path: &str, key: &str, body: &Value) -> anyhow::Result<String> {
    let answer = demo.post(path, key, body).await?.success().context(path.to_owned())?.json();
    let id = answer.get("id").and_then(Value::as_str);
    Ok(id.with_context(|| format!("{path} answered without an id"))?.to_owned())
}

/// A text in what a node says of itself, by its JSON pointer; empty where it says nothing.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
