# A machine with all five evaluates, and each generated configuration passes its binary's own check.
{
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
        services.quintet.enable = true;
      }
    ];
  };
in
# The units name the configurations, so building them builds and checks those.
runCommand "quintet-module" { units = machine.config.systemd.packages; } ''
  for unit in $units; do ls -R "$unit"; done > $out
''
