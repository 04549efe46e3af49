//! A server of S3-compatible object storage over files, which checks signatures as a real one does.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The id of the only access key.
pub const KEY_ID: &str = "AKIAQUINTET";
/// The only access key.
pub const KEY: &str = "correct-horse-battery-staple";
/// The only bucket.
pub const BUCKET: &str = "pictures";

/// A running server with one empty bucket, [`BUCKET`]; it ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens, such as `http://127.0.0.1:41234`.
    pub endpoint: url::Url,
    directory: TempDir,
    _serving: JoinSet<()>,
}

impl Server {
    /// Starts a server on a free port of the loopback.
    pub async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = directory.path().join("buckets");
        std::fs::create_dir_all(root.join(BUCKET))?;
        std::fs::write(directory.path().join("id"), KEY_ID)?;
        std::fs::write(directory.path().join("key"), KEY)?;
        for file in ["id", "key"] {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(directory.path().join(file), std::fs::Permissions::from_mode(0o600))?;
        }
        let files = FileSystem::new(&root).map_err(|error| anyhow!("{error:?}"))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(KEY_ID, KEY));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
        let endpoint = format!("http://{}", listener.local_addr()?).parse()?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            let http = Builder::new(TokioExecutor::new());
            while let Ok((stream, _)) = listener.accept().await {
                let connection = http.serve_connection(TokioIo::new(stream), service.clone()).into_owned();
                connections.spawn(async move {
                    let _ = connection.await;
                });
            }
        });
        Ok(Self { endpoint, directory, _serving: serving })
    }

    /// The file with the id of the key that the server knows.
    pub fn key_id_file(&self) -> PathBuf {
        self.directory.path().join("id")
    }

    /// The file with the key that the server knows.
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    /// The objects as files, each in directories named by the parts of its key.
    pub fn objects(&self) -> PathBuf {
        self.directory.path().join("buckets").join(BUCKET)
    }

    /// Whether an object of this name is there.
    pub fn has(&self, key: &str) -> bool {
        self.objects().join(Path::new(key)).is_file()
    }
}
