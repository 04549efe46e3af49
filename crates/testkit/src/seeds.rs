//! The seeds of a fuzz target as an ordinary test, so that neither the target nor its corpus rots between fuzzing runs.

use std::path::Path;

/// What a byte is replaced by: the ends of its range, the end of a text, a larger number.
const TELLING: [u8; 4] = [0x00, 0xff, b'"', b'9'];

/// Runs `target` on every file of `fuzz/corpus/<name>`, on every beginning of it, and with each of its bytes changed.
///
/// # Panics
/// When the target panics, and when there are no seeds.
#[expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "test support: the output names the seed that failed, and a missing corpus should stop the test"
)]
pub fn replay(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let seeds = std::fs::read_dir(&corpus).expect("a fuzz target has a directory of seeds");
    let mut count = 0;
    for seed in seeds {
        let seed = seed.expect("the directory can be read").path();
        eprintln!("{}", seed.display());
        let bytes = std::fs::read(&seed).expect("a seed can be read");
        target(&bytes);
        neighbours(&bytes, target);
        count += 1;
    }
    assert!(count > 0, "{} is empty", corpus.display());
}

fn neighbours(seed: &[u8], target: fn(&[u8])) {
    for length in 0..seed.len() {
        target(seed.get(..length).unwrap_or_default());
    }
    let mut changed = seed.to_vec();
    for at in 0..seed.len() {
        for telling in TELLING {
            let Some(byte) = changed.get_mut(at) else { continue };
            let kept = std::mem::replace(byte, telling);
            target(&changed);
            if let Some(byte) = changed.get_mut(at) {
                *byte = kept;
            }
        }
    }
}
