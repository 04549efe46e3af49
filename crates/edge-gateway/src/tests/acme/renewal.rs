//! Certificates outlive processes, and are followed by others in time.

use quintet_testkit::FakeClock;
use quintet_types::time::{from_micros, micros};
use quintet_types::{Clock as _, SharedClock, SystemClock};
use serde_json::json;

use super::suggesting::Suggesting;
use super::*;

const HOUR: Duration = Duration::from_hours(1);

/// A clock that begins now, as the certificates' dates do.
fn clock() -> FakeClock {
    FakeClock::at(&SystemClock.now().to_string())
}

/// Waits until another certificate than `old` is shown.
async fn renewed(
    fixture: &Fixture,
    pebble: &Pebble,
    root: &CertificateDer<'static>,
    old: &CertificateDer<'static>,
) {
    let waiting = async {
        while shown(fixture, root, "shop.test").await == *old {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let timely = tokio::time::timeout(ISSUING, waiting).await.is_ok();
    assert!(timely, "{:#?}\n{}", statuses(&fixture.gateway.acme), pebble.log());
}

async fn start_at(pebble: &mut Pebble, clock: SharedClock, section: &str) -> Fixture {
    let mut fixture = Fixture::start_with_clock(&format!("{SHOP}{section}"), clock).await;
    pebble.start(fixture.http.port(), fixture.https.port());
    pebble.answers().await;
    fixture.get_certificates();
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_with_what_is_stored() {
    let mut pebble = Pebble::new();
    let mut fixture = start(&mut pebble, "http-01", SHOP).await;
    issued(&fixture, &pebble).await;
    let root = pebble.root().await;
    let first = shown(&fixture, &root, "shop.test").await;
    fixture.drain().await;
    drop(fixture);
    // Nobody is there to order from.
    pebble.stop();
    let mut fixture = Fixture::start(&format!("{SHOP}{}", pebble.section("http-01"))).await;
    assert_eq!(shown(&fixture, &root, "shop.test").await, first);
    fixture.get_certificates();
    let all = issued(&fixture, &pebble).await;
    assert_eq!(all[0]["failures"], json!(0), "nothing is ordered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_late_in_its_life_and_connections_stay() {
    let mut pebble = Pebble::new();
    let (clock, section) = (clock(), pebble.section("http-01"));
    let fixture = start_at(&mut pebble, clock.shared(), &section).await;
    let all = issued(&fixture, &pebble).await;
    let root = pebble.root().await;
    let first = shown(&fixture, &root, "shop.test").await;
    let mut old = connect(&fixture, &root, "shop.test").await.unwrap();
    ask(&mut old).await;
    let renewal: quintet_types::Timestamp = all[0]["renewal"].as_str().unwrap().parse().unwrap();
    let left = Duration::from_micros((micros(renewal) - clock.now_micros()).unsigned_abs());
    clock.advance(left.checked_sub(HOUR).unwrap());
    fixture.gateway.acme.wake();
    issued(&fixture, &pebble).await;
    assert_eq!(shown(&fixture, &root, "shop.test").await, first, "an hour too early");
    clock.advance(HOUR * 2);
    fixture.gateway.acme.wake();
    renewed(&fixture, &pebble, &root, &first).await;
    assert!(ask(&mut old).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authoritys_suggestion_is_followed_and_the_old_certificate_named() {
    let mut pebble = Pebble::new();
    let suggesting = Suggesting::start(&pebble).await;
    let later = |hours: i64| from_micros(SystemClock.now_micros() + hours * 3_600_000_000).to_string();
    suggesting.seen.lock().unwrap().window = (later(240), later(241));
    let (clock, section) = (clock(), pebble.section_at("http-01", suggesting.port()));
    let fixture = start_at(&mut pebble, clock.shared(), &section).await;
    issued(&fixture, &pebble).await;
    let root = pebble.root().await;
    let first = shown(&fixture, &root, "shop.test").await;
    let within = |all: &[Value]| {
        let renewal = all[0]["renewal"].as_str().unwrap_or_default().to_owned();
        later(239) < renewal && renewal < later(242)
    };
    until(&fixture, &pebble, within).await;
    // The authority wants it back at once.
    suggesting.seen.lock().unwrap().window = (later(-2), later(-1));
    suggesting.seen.lock().unwrap().refuses = true;
    clock.advance(HOUR * 2);
    fixture.gateway.acme.wake();
    renewed(&fixture, &pebble, &root, &first).await;
    // An authority whose suggestion stays in the past does not make the gateway order without end.
    let asked = suggesting.seen.lock().unwrap().asked.clone();
    until(&fixture, &pebble, |_| suggesting.seen.lock().unwrap().asked.last() != asked.first()).await;
    fixture.gateway.acme.wake();
    issued(&fixture, &pebble).await;
    let seen = suggesting.seen.lock().unwrap();
    assert_eq!(seen.replaced.first(), seen.asked.first(), "the order names the old certificate");
    assert_eq!(seen.replaced.len(), 1, "refused once, then ordered without");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_names_get_another_certificate_while_the_old_one_is_shown() {
    let mut pebble = Pebble::new();
    let section = pebble.section("http-01");
    let fixture = start(&mut pebble, "http-01", SHOP).await;
    issued(&fixture, &pebble).await;
    let root = pebble.root().await;
    shown(&fixture, &root, "shop.test").await;
    // An authority that has forgotten the account as well.
    pebble.stop();
    let more = SHOP.replace("\"www.shop.test\"", "\"www.shop.test\", \"new.shop.test\"");
    fixture.reload(&format!("{more}{section}")).unwrap();
    until(&fixture, &pebble, |all| all[0]["failures"].as_u64() > Some(0)).await;
    shown(&fixture, &root, "shop.test").await;
    pebble.start(fixture.http.port(), fixture.https.port());
    until(&fixture, &pebble, |all| all[0]["failures"] == json!(0)).await;
    shown(&fixture, &pebble.root().await, "new.shop.test").await;
}
