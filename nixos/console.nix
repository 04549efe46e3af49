# The web console, as the telemetry sink embeds it.
{
  buildNpmPackage,
  importNpmLock,
  lib,
}:
let
  root = ../crates/telemetry-sink/console;
in
buildNpmPackage {
  pname = "quintet-console";
  version = (lib.importJSON (root + "/package.json")).version;
  src = lib.fileset.toSource {
    inherit root;
    # What a checkout may hold besides its sources.
    fileset = lib.fileset.difference root (
      lib.fileset.unions [
        (lib.fileset.maybeMissing (root + "/dist"))
        (lib.fileset.maybeMissing (root + "/node_modules"))
      ]
    );
  };
  # Hashes come from package-lock.json: nothing to update by hand when a dependency changes.
  npmDeps = importNpmLock { npmRoot = root; };
  npmConfigHook = importNpmLock.npmConfigHook;
  installPhase = ''
    runHook preInstall
    cp --recursive dist $out
    runHook postInstall
  '';
}
