use http::Uri;
use quintet_http::listen::Stream;
use tokio::net::UnixStream;
use tokio::task::LocalSet;

use super::*;

const PATIENCE: Duration = Duration::from_millis(50);

/// A connection whose task runs, with a request that waits for its answer.
async fn asked(upstream: impl AsyncFnOnce(UnixStream)) -> (Http2, Result<Response<Answer>, WireError>) {
    let (near, far) = UnixStream::pair().unwrap();
    let io = Io::Plain(Stream::Unix(near));
    let (connection, work) = Http2::handshake(io, 1, PATIENCE, "up".to_owned()).await.unwrap();
    tokio::task::spawn_local(work);
    let mut request = Request::new(RequestBody::Empty);
    *request.uri_mut() = Uri::from_static("http://up/");
    connection.enter();
    let interim = Interim::none();
    let outcome = tokio::select! {
        outcome = connection.send(&mut request, &interim) => outcome,
        () = upstream(far) => unreachable!("the upstream goes on"),
    };
    (connection, outcome)
}

#[tokio::test]
async fn a_connection_that_owes_an_answer_and_is_dead_is_given_up() {
    let silent = async |_far: UnixStream| std::future::pending().await;
    let local = LocalSet::new();
    let asking = local.run_until(asked(silent));
    let (connection, outcome) =
        tokio::time::timeout(Duration::from_secs(10), asking).await.expect("it is given up");
    assert!(matches!(outcome, Err(WireError::Http2(_))));
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_connection_that_says_that_it_lives_may_take_its_time() {
    let slow = async |far: UnixStream| {
        let mut server = h2::server::handshake(far).await.unwrap();
        let mut answers = Vec::new();
        let mut rest = pin!(tokio::time::sleep(PATIENCE * 20));
        loop {
            tokio::select! {
                accepted = server.accept() => answers.push(accepted.unwrap().unwrap().1),
                () = rest.as_mut(), if !answers.is_empty() => {
                    answers.pop().unwrap().send_response(Response::new(()), true).unwrap();
                }
            }
        }
    };
    let (_, outcome) = LocalSet::new().run_until(asked(slow)).await;
    assert!(outcome.is_ok());
}
