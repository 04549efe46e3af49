//! The seeds of a fuzz target as an ordinary test, so that neither the target nor its corpus rots between fuzzing runs.

use std::path::Path;

/// Runs `target` on every file of `fuzz/corpus/<name>`.
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
        target(&std::fs::read(&seed).expect("a seed can be read"));
        count += 1;
    }
    assert!(count > 0, "{} is empty", corpus.display());
}
