//! A receipt goes out by SMTP to a server that is not ours (aiosmtpd), also when that server was away at first.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::eventually;
use e2e::fleet::{Settings, free_port};
use e2e::shop::Shop;

const WITHIN: Duration = Duration::from_mins(1);

/// An SMTP server that keeps what it is given in a Maildir.
struct Server(Child);

impl Server {
    fn start(port: u16, mailbox: &Path) -> anyhow::Result<Self> {
        let child = Command::new("/usr/bin/python3")
            .args(["-m", "aiosmtpd", "--nosetuid", "--listen", &format!("127.0.0.1:{port}")])
            .args(["--class", "aiosmtpd.handlers.Mailbox"])
            .arg(mailbox)
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_delivered_by_smtp_once_the_server_answers() -> anyhow::Result<()> {
    let port = free_port()?;
    let directory = tempfile::tempdir()?;
    // Made by the server: it takes an existing directory for a mailbox.
    let mailbox = directory.path().join("mailbox");
    let fleet =
        Settings::default().argument("--smtp").argument(format!("smtp://127.0.0.1:{port}")).start()?;
    let shop = Shop::open(&fleet.signed_in().await?, "smtp", 1).await?;
    let order = shop.order("smtp-1").await?.success()?.json();
    let _server = Server::start(port, &mailbox)?;
    let number = order["invoice_number"].as_str().unwrap_or_default().to_owned();
    let delivered = eventually("the receipt is delivered", WITHIN, async || {
        let files = std::fs::read_dir(mailbox.join("new")).ok()?.flatten();
        let messages = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        messages.into_iter().find(|message| message.contains(&number))
    })
    .await
    .expect("a receipt");
    assert!(delivered.contains("To: ") && delivered.contains("smtp@example.com"), "{delivered}");
    assert!(delivered.contains("Message-ID: "), "{delivered}");
    Ok(())
}
