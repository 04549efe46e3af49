//! The real binary, upgraded in place while clients are served: no request fails, none is done twice.

#[cfg(test)]
#[path = "upgrade/counter.rs"]
mod counter;
#[cfg(test)]
#[path = "upgrade/fleet.rs"]
mod fleet;
#[cfg(test)]
#[path = "upgrade/load.rs"]
mod load;

#[cfg(feature = "http3")]
#[cfg(test)]
#[path = "upgrade/quic.rs"]
mod quic;

use fleet::Fleet;
use rustix::process::Signal;

/// Requests between two upgrades of a long run.
const EVERY: usize = 50_000;

#[test]
fn requests_pass_reloads_upgrades_and_an_upstreams_restart_unharmed() {
    let requests = load::requests();
    let times = (requests / EVERY).max(3);
    let mut fleet = Fleet::start();
    let load = fleet.load(requests);
    for time in 1..=times {
        load.wait_for(requests * time / (times + 1));
        fleet.signal(Signal::HUP);
        fleet.upstream.restart();
        fleet.upgrade();
    }
    let failures = load.finish();
    assert!(failures.is_empty(), "{} failed: {:?}\n{}", failures.len(), failures.first(), fleet.log());
    fleet.upstream.ensure_each_once(requests);
    println!(
        "{requests} requests; reloads, upgrades and restarts of the upstream: {times} each; none failed, none done twice"
    );
}

#[test]
fn a_successor_takes_all_sockets_and_the_service_over() {
    let mut fleet = Fleet::start();
    let before = fleet.current();
    let port = fleet.port();
    let sockets = fleet.sockets();
    assert_eq!(sockets.len(), 3, "one for each worker and the admin listener");
    // More workers than before and fewer leave no socket without a worker, and close none with what waits in its queue.
    for workers in [3, 1] {
        fleet.configure(workers, "");
        fleet.upgrade();
        fleet.get_often();
        assert_eq!(fleet.sockets(), sockets);
    }
    assert_ne!(fleet.current(), before);
    assert_eq!(fleet.port(), port);
    fleet.wait_for_end(before);
    assert!(fleet.admin("/readyz").starts_with("HTTP/1.1 200 "), "the admin listener is the successor's");
    assert!(!fleet.log().contains("STOPPING"), "the service does not stop");
}

#[test]
fn a_successor_that_cannot_start_changes_nothing() {
    let mut fleet = Fleet::start();
    let before = fleet.current();
    fleet.configure(2, "no_such_key = 1");
    fleet.signal(Signal::USR2);
    fleet.wait_for_log("upgrade failed; this process goes on");
    fleet.get_often();
    assert_eq!(fleet.current(), before);
    fleet.configure(2, "");
    fleet.upgrade();
    fleet.get_often();
    assert_ne!(fleet.current(), before);
}

/// Both processes hold the UDP sockets: what is for the old one's connections has to reach it through the new one.
#[cfg(feature = "http3")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_over_http3_outlive_the_upgrade_of_their_gateway() {
    let mut fleet = Fleet::start_with("http3 = true");
    let mut old = quic::Client::connect(&fleet).await;
    let held = old.begin("/held/1").await;
    fleet.upstream.wait_until_held();
    let before = fleet.current();
    fleet.upgrade();
    for number in 0..16 {
        let mut new = quic::Client::connect(&fleet).await;
        let stream = new.begin(&format!("/once/{number}")).await;
        assert_eq!(quic::status(stream).await, 200);
    }
    fleet.upstream.release();
    assert_eq!(quic::status(held).await, 200);
    fleet.upstream.ensure_each_once(16);
    drop(old);
    fleet.wait_for_end(before);
}
