# The production build: the five static binaries, a shell to work in, and the NixOS module that runs them.
{
  description = "Quintet: five static binaries that replace an orchestrated fleet";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      binaries = import ./nixos/binaries.nix;
      forEachSystem = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ];
      pkgsFor = system: nixpkgs.legacyPackages.${system};
    in
    {
      packages = forEachSystem (
        system:
        let
          pkgs = pkgsFor system;
          quintet = pkgs.callPackage ./nixos/package.nix { };
          one = binary: pkgs.callPackage ./nixos/binary.nix { inherit binary quintet; };
        in
        lib.genAttrs (lib.attrNames binaries) one
        // {
          inherit quintet;
          console = pkgs.callPackage ./nixos/console.nix { };
          default = quintet;
        }
      );

      nixosModules = {
        quintet = import ./nixos/module.nix { inherit self; };
        default = self.nixosModules.quintet;
      };

      # One machine, and a fleet of three; see nixos/examples.
      nixosConfigurations = lib.mapAttrs (
        _: machine:
        lib.nixosSystem {
          system = "x86_64-linux";
          modules = [
            self.nixosModules.quintet
            machine
          ];
        }
      ) ({ switchable = ./nixos/examples/switchable.nix; } // import ./nixos/examples/fleet.nix);

      # In a checkout: `nix run .#up`.
      apps = forEachSystem (
        system:
        let
          pkgs = pkgsFor system;
          up = pkgs.writeShellApplication {
            name = "quintet-up";
            runtimeInputs = [
              pkgs.cargo
              pkgs.gcc
              pkgs.nodejs
              pkgs.rustc
            ];
            text = ''exec cargo xtask up "$@"'';
          };
        in
        {
          up = {
            type = "app";
            program = lib.getExe up;
          };
        }
      );

      devShells = forEachSystem (
        system:
        let
          pkgs = pkgsFor system;
        in
        {
          default = pkgs.mkShell {
            packages = [
              pkgs.cargo
              pkgs.cargo-nextest
              pkgs.clippy
              pkgs.nodejs
              pkgs.postgresql
              pkgs.rust-analyzer
              pkgs.rustc
              pkgs.rustfmt
            ];
            env.RUST_SRC_PATH = pkgs.rustPlatform.rustLibSrc;
          };
        }
      );

      formatter = forEachSystem (system: (pkgsFor system).nixfmt-tree);

      checks = forEachSystem (
        system:
        let
          pkgs = pkgsFor system;
        in
        {
          inherit (self.packages.${system}) quintet;
          static = pkgs.callPackage ./nixos/checks/static.nix {
            inherit (self.packages.${system}) quintet;
          };
          module = pkgs.callPackage ./nixos/checks/module.nix {
            inherit nixpkgs system;
            module = self.nixosModules.quintet;
          };
          machine = pkgs.callPackage ./nixos/checks/machine.nix { module = self.nixosModules.quintet; };
        }
      );
    };
}
