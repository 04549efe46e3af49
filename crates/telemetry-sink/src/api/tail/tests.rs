//! What a tail selects and how long it lives.

use tokio::sync::broadcast;

use super::*;
use crate::model::{Batch, LogRecord, Resource};

fn tailed(lines: usize) -> Arc<TailedLogs> {
    let resource = Arc::new(Resource { service: "api".into(), attributes: Vec::new() });
    let record = LogRecord { body: "line".into(), ..LogRecord::default() };
    let batch = Batch { groups: vec![(resource, vec![record; lines])] };
    Arc::new(TailedLogs { batch, left_out: 0 })
}

fn wish(query: &str) -> Wish {
    Wish { query: logql::parse_log(query).unwrap(), apart: false }
}

#[tokio::test]
async fn a_tail_in_which_nothing_matches_lives_on_a_busy_storage() {
    let (sender, batches) = broadcast::channel(4);
    let mut tail = Tail {
        batches,
        wish: Arc::new(wish(r#"{service_name="api"} |= "never""#)),
        shutdown: CancellationToken::new(),
        running: Arc::new(Semaphore::new(1)),
        heartbeat: heartbeat(Duration::from_millis(50)),
        missed: 0,
        _place: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
    };
    let busy = async {
        loop {
            if sender.is_empty() {
                sender.send(tailed(1)).unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let event = tokio::select! {
        event = tokio::time::timeout(Duration::from_secs(20), events::next(&mut tail)) => event.unwrap().unwrap(),
        () = busy => unreachable!("it has no end"),
    };
    assert_eq!(event, ": still here\n\n");
}

#[test]
fn lines_that_a_tail_has_no_time_for_are_counted_and_listed() {
    let late = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    let selection = wish(r#"{service_name="api"}"#).selection(&tailed(3), 2, late);
    assert_eq!((selection.entries.len(), selection.dropped.count), (0, 5));
    let listed = selection.dropped.entries(7);
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert_eq!(listed[0]["labels"]["service_name"], "api");
    let other = wish(r#"{service_name="worker"}"#).selection(&tailed(3), 2, late);
    assert_eq!(other.dropped.entries(7), json!([{ "timestamp": "7", "labels": {} }]));
    assert_eq!(Dropped::default().entries(7), JsonValue::Null);
}

#[test]
fn one_message_is_not_larger_than_its_limit() {
    let wish = wish("{service_name=\"api\"} | line_format \"{{repeat 262144 `x`}}\"");
    let selection = wish.selection(&tailed(100), 0, Instant::now() + Duration::from_mins(1));
    assert_eq!((selection.entries.len(), selection.dropped.count), (64, 36));
}
