//! HTTP/3 on a client's connection: a task for each request, and an end in two steps.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use quinn::{Connection, ConnectionError, VarInt};
use tokio::task::JoinSet;

use super::ConnectionState;
use crate::http3::{ALL, Code, Control, Session, answer, read_control};

/// Between the GOAWAY that announces the end and the one that says which requests are not served any more, for those on
/// their way (RFC 9114 section 5.2).
const GRACE: Duration = Duration::from_millis(250);

/// Serves a connection to its end.
pub(crate) async fn serve(
    state: &Rc<ConnectionState>,
    connection: Connection,
) -> Result<(), ConnectionError> {
    let session = Rc::new(Session::new(state, connection.clone()));
    let _closing = Closing(connection.clone());
    let control = Control::open(&session).await?;
    let (mut requests, mut others) = (JoinSet::new(), JoinSet::new());
    let mut leaving = pin!(leave(&session, control));
    let mut left = None;
    while left.is_none() || !requests.is_empty() {
        tokio::select! {
            biased;
            control = leaving.as_mut(), if left.is_none() => left = Some(control),
            accepted = connection.accept_bi() => {
                let (mut send, mut receive) = match accepted {
                    Ok(streams) => streams,
                    Err(error) => return ended(error),
                };
                if session.takes(send.id().into()) {
                    requests.spawn_local(answer(Rc::clone(&session), send, receive));
                } else {
                    // The client may send it again, anywhere (RFC 9114 section 4.1.1).
                    let rejected: VarInt = Code::RequestRejected.into();
                    let _ = (send.reset(rejected), receive.stop(rejected));
                }
            }
            accepted = connection.accept_uni() => match accepted {
                Ok(stream) => drop(others.spawn_local(read_control(Rc::clone(&session), stream))),
                Err(error) => return ended(error),
            },
            Some(_) = requests.join_next() => {}
            Some(_) = others.join_next() => {}
        }
    }
    Ok(())
}

/// Waits until the connection is to end and tells the client, first that it will and then from where on. The stream that
/// it was told by must stay.
async fn leave(session: &Session, mut control: Control) -> Control {
    tokio::select! {
        () = session.state.drain_begins() => {
            control.goaway(session, ALL).await;
            tokio::time::sleep(GRACE).await;
        }
        () = session.moved.notified() => {}
    }
    let last = session.end_requests();
    control.goaway(session, last).await;
    control
}

/// Tells the client how the connection ended, whoever ends it.
struct Closing(Connection);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close(Code::NoError.into(), b"");
    }
}

/// A connection that either side has closed in its own time is no error.
fn ended(error: ConnectionError) -> Result<(), ConnectionError> {
    match error {
        ConnectionError::ApplicationClosed(_)
        | ConnectionError::LocallyClosed
        | ConnectionError::TimedOut => Ok(()),
        error => Err(error),
    }
}
