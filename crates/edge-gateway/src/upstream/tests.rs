use proptest::prelude::*;

use super::endpoint::FIRST_EJECTION;
use super::*;

fn upstream(addresses: usize, epoch: Instant) -> Upstream {
    let addresses: Vec<String> = (0..addresses).map(|n| format!("\"127.0.0.1:{}\"", 9000 + n)).collect();
    let text = format!("name = \"a\"\naddresses = [{}]\nmax_in_flight = 2\n", addresses.join(","));
    Upstream::new(&toml::from_str(&text).unwrap(), None, Transport::default(), epoch, None)
}

fn choose(upstream: &Upstream, random: u64, now: Instant) -> usize {
    let rotation = Rotation::default();
    let affinity = Affinity::default();
    upstream.choose(&Choice { random, now, affinity, avoid: None, rotation: &rotation })
}

#[test]
fn the_less_loaded_of_two_addresses_is_chosen() {
    let epoch = Instant::now();
    let upstream = upstream(2, epoch);
    upstream.endpoints[0].enter();
    for random in [0, 1, 2, u64::MAX, 0x1234_5678_9abc_def0] {
        assert_eq!(choose(&upstream, random, epoch), 1);
    }
}

#[test]
fn an_ejected_address_gets_no_requests_until_its_time_is_over() {
    let epoch = Instant::now();
    let upstream = upstream(3, epoch);
    upstream.connect_failed(1, epoch);
    for random in 0..100u64 {
        assert_ne!(choose(&upstream, random.wrapping_mul(0x9e37_79b9_7f4a_7c15), epoch), 1);
    }
    let later = epoch + FIRST_EJECTION + Duration::from_millis(1);
    assert!(
        (0..100u64).any(|random| choose(&upstream, random.wrapping_mul(0x9e37_79b9_7f4a_7c15), later) == 1)
    );
}

#[test]
fn when_all_addresses_are_ejected_all_are_tried() {
    let epoch = Instant::now();
    let upstream = upstream(2, epoch);
    upstream.connect_failed(0, epoch);
    upstream.connect_failed(1, epoch);
    let chosen: std::collections::BTreeSet<_> = (0..100u64)
        .map(|random| choose(&upstream, random.wrapping_mul(0x9e37_79b9_7f4a_7c15), epoch))
        .collect();
    assert_eq!(chosen.len(), 2);
}

#[test]
fn failures_in_a_row_eject_and_a_success_forgives() {
    let epoch = Instant::now();
    let upstream = upstream(2, epoch);
    for _ in 0..FAILURES_BEFORE_EJECTION {
        upstream.failed(0, epoch);
    }
    assert_eq!(choose(&upstream, 0, epoch), 1);
    upstream.answered(0, StatusCode::OK, Duration::ZERO, epoch);
    upstream.endpoints[1].enter();
    assert_eq!(choose(&upstream, 0, epoch), 0);
}

#[tokio::test]
async fn the_retry_budget_is_a_fifth_of_requests() {
    let upstream = upstream(1, Instant::now());
    while upstream.may_retry() {}
    for _ in 0..100 {
        assert!(upstream.enter().await);
        upstream.leave();
    }
    assert_eq!(std::iter::repeat_with(|| upstream.may_retry()).take_while(|&ok| ok).count(), 20);
    for _ in 0..10_000 {
        assert!(upstream.enter().await);
        upstream.leave();
    }
    // The reserve caps what quiet times can save.
    assert_eq!(std::iter::repeat_with(|| upstream.may_retry()).take_while(|&ok| ok).count(), 50);
}

#[tokio::test]
async fn requests_beyond_the_bound_are_turned_away() {
    let upstream = upstream(1, Instant::now());
    assert!(upstream.enter().await && upstream.enter().await);
    assert!(!upstream.enter().await);
    upstream.leave();
    assert!(upstream.enter().await);
}

#[test]
fn how_long_an_address_has_refused_is_known() {
    let epoch = Instant::now();
    let upstream = upstream(1, epoch);
    assert_eq!(upstream.connect_failed(0, epoch), Duration::ZERO);
    assert_eq!(upstream.connect_failed(0, epoch + Duration::from_secs(3)), Duration::from_secs(3));
    upstream.connect_succeeded(0);
    assert_eq!(upstream.connect_failed(0, epoch + Duration::from_secs(4)), Duration::ZERO);
}

/// An upstream with addresses of these weights.
fn weighted(weights: &[u32], more: &str, epoch: Instant) -> Upstream {
    let place = |(n, weight)| format!("{{ address = \"10.0.0.{n}:80\", weight = {weight} }}");
    let addresses: Vec<String> = weights.iter().enumerate().map(place).collect();
    let text = format!("name = \"a\"\naddresses = [{}]\n{more}", addresses.join(","));
    Upstream::new(&toml::from_str(&text).unwrap(), None, Transport::default(), epoch, None)
}

/// How many of `requests` each address gets, all of them staying in flight where `hold`.
fn spread_of(upstream: &Upstream, requests: u64, hold: bool, now: Instant) -> Vec<usize> {
    let rotation = Rotation::default();
    let mut counts = vec![0; upstream.endpoints.len()];
    for n in 0..requests {
        let random = super::hash::mix(n + 1);
        let affinity = Affinity::default();
        let at = upstream.choose(&Choice { random, now, affinity, avoid: None, rotation: &rotation });
        counts[at] += 1;
        if hold {
            upstream.endpoints[at].enter();
        }
    }
    counts
}

proptest! {
    #[test]
    fn every_policy_balances_by_weight(
        weights in prop::collection::vec(1u32..10, 1..8),
        policy in prop::sample::select(vec!["least-requests", "p2c-ewma", "round-robin", "hash"]),
        hold: bool,
    ) {
        let epoch = Instant::now();
        let upstream = weighted(&weights, &format!("balance = \"{policy}\"\nmax_in_flight = 100000\n"), epoch);
        for endpoint in &upstream.endpoints {
            endpoint.latency.record(Duration::from_millis(1), 0);
        }
        let total: u32 = weights.iter().sum();
        let counts = spread_of(&upstream, u64::from(total) * 200, hold, epoch);
        for (count, weight) in counts.into_iter().zip(weights) {
            let expected = weight as usize * 200;
            prop_assert!(count.abs_diff(expected) <= expected / 3, "{count} for {expected}");
        }
    }

    #[test]
    fn round_robin_is_exact_over_each_turn(weights in prop::collection::vec(1u32..10, 1..8)) {
        let epoch = Instant::now();
        let upstream = weighted(&weights, "balance = \"round-robin\"\n", epoch);
        let total: u32 = weights.iter().sum();
        let counts = spread_of(&upstream, u64::from(total) * 10, false, epoch);
        for (count, weight) in counts.into_iter().zip(weights) {
            prop_assert!(count.abs_diff(weight as usize * 10) <= 1, "{count} for {weight}");
        }
    }

    #[test]
    fn an_unavailable_address_is_never_chosen(
        policy in prop::sample::select(vec!["least-requests", "p2c-ewma", "round-robin", "hash"]),
        dead in 0usize..4,
    ) {
        let epoch = Instant::now();
        let upstream = weighted(&[1, 2, 3, 4], &format!("balance = \"{policy}\"\n"), epoch);
        upstream.connect_failed(dead, epoch);
        prop_assert_eq!(spread_of(&upstream, 200, false, epoch)[dead], 0);
    }
}

#[test]
fn a_slow_address_gets_fewer_requests_by_latency() {
    let epoch = Instant::now();
    let upstream = weighted(&[1, 1, 1, 1], "balance = \"p2c-ewma\"\n", epoch);
    for at in 0..4 {
        let took = Duration::from_millis(if at == 2 { 100 } else { 1 });
        upstream.answered(at, StatusCode::OK, took, epoch + Duration::from_secs(1));
    }
    let counts = spread_of(&upstream, 1_000, false, epoch + Duration::from_secs(1));
    assert_eq!(counts[2], 0, "{counts:?}");
    // What was slow once is tried again.
    for second in 2..60 {
        for at in [0, 1, 3] {
            upstream.answered(
                at,
                StatusCode::OK,
                Duration::from_millis(1),
                epoch + Duration::from_secs(second),
            );
        }
    }
    let counts = spread_of(&upstream, 1_000, false, epoch + Duration::from_mins(1));
    assert!(counts[2] > 100, "{counts:?}");
}

#[test]
fn an_address_that_joins_starts_slowly() {
    let epoch = Instant::now();
    let before = weighted(&[1], "", epoch);
    let text = "name = \"a\"\naddresses = [\"10.0.0.0:80\", \"10.0.0.1:80\"]\nslow_start_ms = 10000\n\
                balance = \"round-robin\"\n";
    let after =
        Upstream::new(&toml::from_str(text).unwrap(), None, Transport::default(), epoch, Some(&before));
    let joined = Instant::now();
    let share = |after_ms| spread_of(&after, 1_100, false, joined + Duration::from_millis(after_ms))[1];
    assert!((95..=105).contains(&share(0)), "{}", share(0));
    assert!((355..=375).contains(&share(5_000)), "{}", share(5_000));
    assert!((545..=555).contains(&share(10_000)), "{}", share(10_000));
    after.connect_failed(1, joined + Duration::from_mins(1));
    let back = 60_000 + u64::try_from(FIRST_EJECTION.as_millis()).unwrap();
    assert!((95..=105).contains(&share(back)), "it recovers slowly as well: {}", share(back));
}

#[test]
fn failures_take_out_only_a_part_of_the_addresses() {
    let epoch = Instant::now();
    let upstream = weighted(&[1, 1, 1, 1], "max_ejected_percent = 50\n", epoch);
    for at in 0..4 {
        for _ in 0..FAILURES_BEFORE_EJECTION {
            upstream.failed(at, epoch);
        }
    }
    let counts = spread_of(&upstream, 100, false, epoch);
    assert_eq!(counts.iter().filter(|count| **count == 0).count(), 2, "{counts:?}");
}

#[test]
fn all_addresses_are_used_when_too_few_are_available() {
    let epoch = Instant::now();
    let upstream = weighted(&[1, 1, 1, 1], "panic_percent = 50\n", epoch);
    upstream.connect_failed(0, epoch);
    upstream.connect_failed(1, epoch);
    assert_eq!(spread_of(&upstream, 100, false, epoch)[..2], [0, 0]);
    upstream.connect_failed(2, epoch);
    assert!(spread_of(&upstream, 100, false, epoch).iter().all(|count| *count > 0));
}

#[test]
fn an_address_to_avoid_is_left_out_while_there_are_others() {
    let epoch = Instant::now();
    let rotation = Rotation::default();
    for (weights, expected) in [(&[1, 1][..], 0), (&[1][..], 0)] {
        let upstream = weighted(weights, "", epoch);
        for random in 0..50 {
            let avoid = Some(weights.len() - 1);
            let random = super::hash::mix(random);
            let affinity = Affinity::default();
            let choice = Choice { random, now: epoch, affinity, avoid, rotation: &rotation };
            assert_eq!(upstream.choose(&choice), expected);
        }
    }
}

#[tokio::test]
async fn a_reload_keeps_the_bound_that_was_learnt_and_refusals_shrink_it() {
    let epoch = Instant::now();
    let section =
        toml::from_str("name = \"a\"\naddresses = [\"127.0.0.1:9\"]\nadaptive = { min = 2 }").unwrap();
    let upstream = Upstream::new(&section, None, Transport::default(), epoch, None);
    assert!(upstream.enter().await && upstream.enter().await && !upstream.enter().await);
    for _ in 0..20 {
        upstream.answered(0, StatusCode::OK, Duration::from_millis(5), epoch);
    }
    assert!(upstream.enter().await, "answers as fast as ever make room");
    let next = Upstream::new(&section, None, Transport::default(), epoch, Some(&upstream));
    assert!(next.enter().await && next.enter().await && next.enter().await);
    for _ in 0..20 {
        next.answered(0, StatusCode::TOO_MANY_REQUESTS, Duration::from_millis(5), epoch);
    }
    next.leave();
    assert!(!next.enter().await, "two are in flight, and the upstream says that it has too many");
}
