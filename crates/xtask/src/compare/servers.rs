//! The two that are compared: Prometheus and the sink, each with a directory of its own.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{Method, Request};
use quintet_http::{Client, Origin};
use serde_json::{Value, json};
use xtask::issuer::{AUDIENCE, ISSUER};

use crate::process;

const START: Duration = Duration::from_mins(1);

/// A server with Prometheus' HTTP API.
pub(super) struct Server {
    child: Child,
    pub(super) queries: Client,
    /// Before `/query` and the like.
    api: &'static str,
    token: Option<String>,
    intake: Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server cannot be told to take a free port and say which; one that was free a moment ago is as good here.
pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn client(origin: &str) -> anyhow::Result<Client> {
    let origin: Origin = origin.parse()?;
    Ok(Client::new(origin).timeout(Duration::from_secs(30)).max_body(64 << 20))
}

/// Starts a program that ends with this one, and waits until it says that it is ready.
async fn start(command: &mut Command, log: &Path, ready: (&Client, &str)) -> anyhow::Result<Child> {
    let log_file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let mut wrapped = Command::new(process::SELF);
    wrapped.args(["child", "--parent", &std::process::id().to_string(), "--"]).arg(command.get_program());
    wrapped.args(command.get_args()).stdin(Stdio::null()).stdout(log_file.try_clone()?).stderr(log_file);
    let mut child = wrapped.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
    let begun = Instant::now();
    while ready.0.get(ready.1).await.is_err() {
        let ended = child.try_wait()?;
        if ended.is_some() || begun.elapsed() > START {
            let _ = child.kill();
            let _ = child.wait();
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let last: Vec<_> = said.lines().rev().take(5).collect();
            bail!("{} is not ready ({ended:?}): {last:?}", command.get_program().display());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(child)
}

impl Server {
    /// Prometheus, empty and open to remote write.
    pub(super) async fn prometheus(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        Self::prometheus_at(program, directory, free_port()?).await
    }

    /// The same on this port, with what an earlier one left in the directory.
    pub(super) async fn prometheus_at(program: &Path, directory: &Path, port: u16) -> anyhow::Result<Self> {
        let config = directory.join("prometheus.yml");
        std::fs::write(&config, "global: {}\n").with_context(|| format!("write {}", config.display()))?;
        let origin = format!("http://127.0.0.1:{port}");
        let queries = client(&origin)?;
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-remote-write-receiver");
        let child = start(&mut command, &directory.join("prometheus.log"), (&queries, "/-/ready")).await?;
        Ok(Self { child, intake: queries.clone(), queries, api: "/api/v1", token: None })
    }

    /// VictoriaMetrics, empty, and its address.
    pub(super) async fn victoria_metrics(program: &Path, directory: &Path) -> anyhow::Result<(Self, String)> {
        let port = free_port()?;
        let origin = format!("http://127.0.0.1:{port}");
        let queries = client(&origin)?;
        let mut command = Command::new(program);
        command
            .arg(format!("-storageDataPath={}", directory.join("victoria-metrics").display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            // Samples of a moment ago are answered at once and not half a minute later.
            .args(["-retentionPeriod=1", "-search.latencyOffset=0s", "-search.disableCache"]);
        let child =
            start(&mut command, &directory.join("victoria-metrics.log"), (&queries, "/health")).await?;
        Ok((Self { child, intake: queries.clone(), queries, api: "/api/v1", token: None }, origin))
    }

    /// The sink, with the keys of the issuer at this port.
    pub(super) async fn sink(
        program: &Path,
        directory: &Path,
        keys: u16,
        token: String,
    ) -> anyhow::Result<Self> {
        Self::sink_with(program, directory, keys, token, &json!({})).await
    }

    /// The same, passing on what its section `[forward]` says.
    pub(super) async fn sink_with(
        program: &Path,
        directory: &Path,
        keys: u16,
        token: String,
        forward: &Value,
    ) -> anyhow::Result<Self> {
        let socket = |name: &str| format!("unix:{}", directory.join(name).display());
        let config = json!({
            "service": { "admin": socket("admin.sock") },
            "listen": { "http": socket("http.sock"), "otlp": socket("otlp.sock") },
            "auth": { "issuer": ISSUER, "audience": AUDIENCE, "jwks": format!("http://127.0.0.1:{keys}") },
            "storage": { "directory": directory.join("sink") },
            "host": { "enabled": false },
            "rules": { "defaults": false },
            "forward": forward,
        });
        let table = toml::Table::try_from(config).context("build the configuration")?;
        let path = directory.join("sink.toml");
        std::fs::write(&path, table.to_string()).with_context(|| format!("write {}", path.display()))?;
        let admin = client(&socket("admin.sock"))?;
        let mut command = Command::new(program);
        command.arg("--config").arg(&path);
        let child = start(&mut command, &directory.join("sink.log"), (&admin, "/readyz")).await?;
        let (queries, intake) = (client(&socket("http.sock"))?, client(&socket("otlp.sock"))?);
        Ok(Self { child, queries, api: "/telemetry/prometheus/api/v1", token: Some(token), intake })
    }

    /// Stores one remote-write request.
    pub(super) async fn write(&self, body: &[u8]) -> anyhow::Result<()> {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/v1/write")
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .body(Bytes::copy_from_slice(body))?;
        let answer = self.intake.request(request).await?;
        let said = String::from_utf8_lossy(answer.body()).into_owned();
        ensure!(answer.status().is_success(), "remote write was answered {}: {said}", answer.status());
        Ok(())
    }

    /// What a query is answered, errors included.
    pub(super) async fn ask(&self, path: &str, form: String) -> anyhow::Result<Value> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/{path}", self.api))
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = self.queries.request(request.body(Bytes::from(form))?).await?;
        serde_json::from_slice(answer.body())
            .with_context(|| format!("{path} was answered {} with no JSON", answer.status()))
    }
}
