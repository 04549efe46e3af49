//! Compiles the copying routines for the targets whose C library has slow ones.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script of its target by variables")]

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/copy.c");
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    if target("ENV") != "musl" || target("ARCH") != "x86_64" {
        return;
    }
    cc::Build::new()
        .file("src/copy.c")
        .opt_level(3)
        // Without these the compiler turns the loops into calls of the functions that they are in.
        .flags(["-ffreestanding", "-fno-builtin", "-fno-tree-loop-distribute-patterns"])
        // musl's own versions must not be linked beside these.
        .link_lib_modifier("+whole-archive")
        .compile("quintet_copy");
}
