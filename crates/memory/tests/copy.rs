//! The copying routines do what the C library's do.

#![cfg(target_arch = "x86_64")]

use std::process::Command;

#[test]
fn copies_and_comparisons_of_every_length_and_overlap_are_those_of_the_c_library() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("copy_test");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = cc::Build::new();
    build.cargo_metadata(false).opt_level(3).target(&triple).host(&triple).out_dir(directory.path());
    let mut compiler: Command = build.get_compiler().to_command();
    compiler.arg("-fno-builtin").arg("-o").arg(&program);
    compiler.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/copy_test.c"));
    assert!(compiler.status().unwrap().success(), "the test program does not compile");
    let output = Command::new(&program).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
