//! Following `NOTIFY` on a connection of its own.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_postgres::{AsyncMessage, Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::Error;

type Stream = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

/// A connection that listens on one channel.
pub(crate) struct Watch {
    connection: Connection<Socket, Stream>,
    /// The connection lives as long as its client.
    _client: Client,
}

impl Watch {
    pub(super) async fn open(config: &Config, tls: MakeRustlsConnect, channel: &str) -> Result<Self, Error> {
        let (client, mut connection) = config.connect(tls).await?;
        {
            let listen = format!("LISTEN {channel}");
            let mut listening = pin!(client.batch_execute(&listen));
            // The connection moves only while it is polled.
            poll_fn(|cx| {
                while let Poll::Ready(message) = connection.poll_message(cx) {
                    if let Err(error) = alive(message) {
                        return Poll::Ready(Err(error));
                    }
                }
                listening.as_mut().poll(cx).map_err(Error::from)
            })
            .await?;
        }
        Ok(Self { connection, _client: client })
    }

    /// Waits for a notification, at most `timeout`; whether there was one. All that have arrived count as one.
    pub(crate) async fn changed(&mut self, timeout: Duration) -> Result<bool, Error> {
        match tokio::time::timeout(timeout, poll_fn(|cx| self.poll_changed(cx))).await {
            Err(_elapsed) => Ok(false),
            Ok(notified) => notified.map(|()| true),
        }
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut notified = false;
        while let Poll::Ready(message) = self.connection.poll_message(cx) {
            match alive(message) {
                Ok(AsyncMessage::Notification(_)) => notified = true,
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if notified { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

fn alive(message: Option<Result<AsyncMessage, tokio_postgres::Error>>) -> Result<AsyncMessage, Error> {
    let closed = || Error::Unavailable("the server closed the connection that follows notifications".into());
    Ok(message.ok_or_else(closed)??)
}
