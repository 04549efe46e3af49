# The five binaries, static: one build, so that shared code is compiled once.
{
  callPackage,
  lib,
  pkgsStatic,
}:
let
  binaries = lib.attrNames (import ./binaries.nix);
  console = callPackage ./console.nix { };
in
pkgsStatic.rustPlatform.buildRustPackage {
  pname = "quintet";
  version = (lib.importTOML ../Cargo.toml).workspace.package.version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.lock
      ../Cargo.toml
      ../clippy.toml
      ../crates
      ../tests/e2e
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;

  postPatch = ''
    rm --recursive --force crates/telemetry-sink/console/{dist,node_modules}
    cp --recursive --no-preserve=mode ${console} crates/telemetry-sink/console/dist
  '';

  buildType = "dist";
  cargoBuildFlags = lib.concatMap (binary: [
    "--package"
    binary
  ]) binaries;
  # As `cargo xtask dist` builds it.
  buildFeatures = [ "edge-gateway/http3" ];

  # The tests need PostgreSQL, Chromium and a network of their own: `cargo xtask test` runs them.
  doCheck = false;

  # A reference would be an interpreter, a library or a path of the build.
  allowedReferences = [ ];

  meta = {
    description = "Five static binaries that replace an orchestrated fleet";
    license = lib.licenses.asl20;
    platforms = lib.platforms.linux;
  };
}
