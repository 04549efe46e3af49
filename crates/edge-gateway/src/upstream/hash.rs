//! Weighted rendezvous hashing with bounded load.
//!
//! Each address draws a number from the key and its own identity, and the best one wins; so an address that
//! leaves gives away only its own keys, and one that joins takes only its share. An address may have a
//! quarter more than its part of the requests in flight; what is above goes to the key's next best address, so
//! that one hot key cannot drown an address. See "Consistent Hashing with Bounded Loads" (Mirrokni et al.).

/// An address that may be chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) at: usize,
    pub(super) identity: u64,
    pub(super) weight: u64,
    pub(super) load: usize,
}

/// The candidate for `key`.
pub(super) fn choose(key: u64, candidates: impl Iterator<Item = Candidate> + Clone) -> Option<usize> {
    let (weights, loads) = candidates
        .clone()
        .fold((0u64, 1usize), |(weights, loads), one| (weights + one.weight, loads + one.load));
    let bounded = candidates.clone().filter(|one| {
        // load < 1.25 · loads · weight / weights, in integers.
        let (load, loads) = (one.load as u128, loads as u128);
        load * 4 * u128::from(weights) < loads * 5 * u128::from(one.weight)
    });
    best(key, bounded).or_else(|| best(key, candidates))
}

fn best(key: u64, candidates: impl Iterator<Item = Candidate>) -> Option<usize> {
    let scored = candidates.map(|one| (score(key, one.identity, one.weight), one.at));
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at)
}

/// Grows with the weight such that an address wins its weight's share of keys (Schindelhauer and Schomaker).
#[expect(clippy::cast_precision_loss, reason = "53 random bits and weights far below 2^52")]
fn score(key: u64, identity: u64, weight: u64) -> f64 {
    let drawn = mix(key ^ mix(identity));
    // In (0, 1): never 0, whose logarithm is infinite, and never 1.
    let uniform = ((drawn >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
    -(weight as f64) / uniform.ln()
}

/// The finalizer of MurmurHash3.
pub(super) fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// FNV-1a with a finalizer: the same on every machine and in every version, which `Hash` does not promise.
pub(crate) fn spread(key: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(key.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(weights: &[u64]) -> Vec<Candidate> {
        let candidate = |(at, &weight): (usize, &u64)| Candidate {
            at,
            identity: spread(format!("10.0.0.{at}:80").as_bytes()),
            weight,
            load: 0,
        };
        weights.iter().enumerate().map(candidate).collect()
    }

    fn place(key: u64, candidates: &[Candidate]) -> usize {
        choose(mix(key), candidates.iter().copied()).unwrap()
    }

    proptest! {
        #[test]
        fn an_address_that_leaves_moves_only_its_own_keys(
            weights in prop::collection::vec(1u64..1_000, 2..20), leaver in any::<prop::sample::Index>(), key: u64,
        ) {
            let all = candidates(&weights);
            let leaver = leaver.index(all.len());
            let rest: Vec<_> = all.iter().copied().filter(|one| one.at != leaver).collect();
            let before = place(key, &all);
            if before != leaver {
                prop_assert_eq!(place(key, &rest), before);
            }
        }

        #[test]
        fn more_weight_never_takes_keys_from_the_heavier_address(
            weights in prop::collection::vec(1u64..1_000, 2..20), riser in any::<prop::sample::Index>(), key: u64,
        ) {
            let before = candidates(&weights);
            let riser = riser.index(before.len());
            let mut after = before.clone();
            after[riser].weight *= 2;
            let (old, new) = (place(key, &before), place(key, &after));
            prop_assert!(new == old || new == riser);
        }

        #[test]
        fn no_address_gets_more_than_a_quarter_above_its_part(
            addresses in 2usize..10, keys in prop::collection::vec(0u64..4, 50..300),
        ) {
            let mut all = candidates(&vec![100; addresses]);
            for (sent, key) in keys.into_iter().enumerate() {
                let at = place(key, &all);
                all[at].load += 1;
                // load < 1.25 · requests / addresses + 1, in integers.
                let (load, requests) = (all[at].load, sent + 1);
                prop_assert!(load * 4 * addresses < requests * 5 + 4 * addresses, "{load} of {requests}");
            }
        }
    }

    #[test]
    fn keys_spread_by_weight() {
        let all = candidates(&[100, 200, 700]);
        let mut counts = [0usize; 3];
        for key in 0..20_000 {
            counts[place(key, &all)] += 1;
        }
        for (count, expected) in counts.into_iter().zip([2_000, 4_000, 14_000]) {
            assert!(count.abs_diff(expected) < expected / 8, "{count} of {expected}");
        }
    }
}
