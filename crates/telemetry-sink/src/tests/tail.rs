//! Loki's tail over a real connection, as Grafana's live view and `logcli --tail` use it.

use futures_util::{SinkExt, StreamExt};
use quintet_http::{Address, Limits, serve, standard};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A sink that listens.
struct Served {
    sink: Sink,
    address: std::net::SocketAddr,
    tasks: JoinSet<()>,
}

impl Served {
    fn start() -> Self {
        let sink = sink();
        let listener = "127.0.0.1:0".parse::<Address>().unwrap().bind().unwrap();
        let Address::Tcp(address) = listener.local_address().unwrap() else { panic!("not on TCP") };
        let (limits, mut tasks) = (Limits::default(), JoinSet::new());
        let router = standard(sink.router.clone(), &limits);
        tasks.spawn(serve(listener, router, limits, sink.shutdown.clone()));
        Self { sink, address, tasks }
    }

    async fn open(&self, params: &[(&str, &str)]) -> Result<WebSocketStream<TcpStream>, Error> {
        let params = serde_urlencoded::to_string(params).unwrap();
        let url = format!("ws://{}/telemetry/loki/api/v1/tail?{params}", self.address);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", self.sink.token.parse().unwrap());
        let stream = TcpStream::connect(self.address).await.unwrap();
        Ok(tokio::time::timeout(PATIENCE, client_async(request, stream)).await.unwrap()?.0)
    }

    async fn refused(&self, params: &[(&str, &str)]) -> StatusCode {
        match self.open(params).await {
            Err(Error::Http(response)) => response.status(),
            other => panic!("not refused: {other:?}"),
        }
    }
}

async fn heard(socket: &mut WebSocketStream<TcpStream>) -> Message {
    tokio::time::timeout(PATIENCE, socket.next()).await.expect("something is said").unwrap().unwrap()
}

/// The next message with lines.
async fn lines(socket: &mut WebSocketStream<TcpStream>) -> Json {
    // Pings do not count as lines, or a tail that lost them would be waited for as long as it lives.
    match heard(socket).await {
        Message::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("no lines: {other:?}"),
    }
}

/// The texts of a message, stream by stream.
fn texts(message: &Json) -> Vec<&str> {
    let streams = message["streams"].as_array().unwrap().iter();
    let values = streams.flat_map(|stream| stream["values"].as_array().unwrap());
    values.map(|value| value[1].as_str().unwrap()).collect()
}

const QUERY: (&str, &str) = ("query", r#"{service_name="api"} |= "took" | logfmt"#);

#[tokio::test]
async fn a_tail_gives_the_newest_lines_and_then_those_that_come_until_the_drain() {
    let mut served = Served::start();
    served.sink.lines("api", 9, &[(30, "took=1ms"), (20, "took=2ms"), (15, "no"), (10, "took=2ms")]);
    let mut socket = served.open(&[QUERY, ("limit", "2")]).await.unwrap();
    let first = lines(&mut socket).await;
    assert_eq!(texts(&first), ["took=2ms", "took=2ms"], "{first}");
    assert_eq!(first["dropped_entries"], Json::Null);
    assert_eq!(first["streams"][0]["stream"]["service_name"], "api");
    let times: Vec<i64> = ["0", "1"]
        .into_iter()
        .map(|at| {
            first["streams"][at.parse::<usize>().unwrap()]["values"][0][0].as_str().unwrap().parse().unwrap()
        })
        .collect();
    assert!(times[0] < times[1], "the oldest comes first: {first}");

    served.sink.lines("worker", 9, &[(0, "took=7ms")]);
    served.sink.lines("api", 9, &[(1, "no"), (0, "took=3ms")]);
    let next = lines(&mut socket).await;
    assert_eq!((texts(&next), &next["streams"][0]["stream"]["took"]), (vec!["took=3ms"], &json!("3ms")));

    socket.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(heard(&mut socket).await, Message::Pong("are you there".into()));

    served.sink.shutdown.cancel();
    let Message::Close(Some(farewell)) = heard(&mut socket).await else { panic!("no good-bye") };
    assert_eq!(farewell.code, CloseCode::Away);
    assert!(socket.next().await.is_none());
    let stopped = tokio::time::timeout(PATIENCE, served.tasks.join_next()).await;
    stopped.expect("the drain ends").unwrap().unwrap();
}

#[tokio::test]
async fn a_tail_that_waits_puts_late_lines_into_their_order() {
    let served = Served::start();
    let mut socket = served.open(&[QUERY, ("delay_for", "1")]).await.unwrap();
    served.sink.lines("api", 9, &[(0, "took=2ms")]);
    served.sink.lines("api", 9, &[(1, "took=1ms")]);
    let mut all = Vec::new();
    while all.len() < 2 {
        all.extend(texts(&lines(&mut socket).await).into_iter().map(str::to_owned));
    }
    assert_eq!(all, ["took=1ms", "took=2ms"]);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_what_it_missed() {
    let served = Served::start();
    let large = "{service_name=\"api\"} | line_format \"{{repeat 262144 `x`}}\"";
    let mut socket = served.open(&[("query", large)]).await.unwrap();
    served.sink.lines("api", 9, &[(0, "long"); 60]);
    // The first message is on its way and larger than what the kernel holds.
    tokio::time::timeout(PATIENCE, socket.get_ref().peek(&mut [0])).await.unwrap().unwrap();
    for _ in 0..2000 {
        served.sink.lines("api", 9, &[(0, "short")]);
    }
    let (mut told, mut dropped) = (0, 0);
    while dropped == 0 {
        let message = lines(&mut socket).await;
        told += texts(&message).len();
        dropped = message["dropped"].as_u64().unwrap();
        assert_eq!(message["dropped_entries"].is_null(), dropped == 0);
    }
    assert!((60..2060).contains(&told), "{told} lines and {dropped} dropped");
}

#[tokio::test]
async fn what_is_no_tail_is_refused_before_it_is_one() {
    let served = Served::start();
    assert_eq!(served.refused(&[("query", "{")]).await, StatusCode::BAD_REQUEST);
    assert_eq!(served.refused(&[("query", "sum(rate({a=\"b\"}[1m]))")]).await, StatusCode::BAD_REQUEST);
    assert_eq!(served.refused(&[QUERY, ("delay_for", "6")]).await, StatusCode::BAD_REQUEST);
    assert_eq!(served.refused(&[QUERY, ("limit", "5001")]).await, StatusCode::BAD_REQUEST);
    let (status, said) = served.sink.get("/telemetry/loki/api/v1/tail").await;
    assert_eq!(status, StatusCode::UPGRADE_REQUIRED, "{said}");
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(served.open(&[QUERY]).await.unwrap());
    }
    assert_eq!(served.refused(&[QUERY]).await, StatusCode::TOO_MANY_REQUESTS);
    drop(open);
    let freed = async { while served.open(&[QUERY]).await.is_err() {} };
    tokio::time::timeout(PATIENCE, freed).await.expect("a tail that ends gives its place back");
}
