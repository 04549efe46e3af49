# What the module makes of a few machines, as data: for `cargo xtask nix-check --lib DIR`, which compares it with ../../packaging.
# It needs nixpkgs' lib alone. What the module sets of NixOS stands here as options that take anything, so this says nothing of
# NixOS itself; checks/module.nix does.
{ lib }:
let
  packages = lib.genAttrs (lib.attrNames (import ../binaries.nix)) (name: {
    type = "derivation";
    inherit name;
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
  });
  self.packages.x86_64-linux = packages;

  pkgs = {
    stdenv.hostPlatform.system = "x86_64-linux";
    formats.toml = _: {
      type =
        with lib.types;
        let
          value = nullOr (oneOf [
            bool
            int
            float
            str
            path
            (attrsOf value)
            (listOf value)
          ]);
        in
        value;
      generate = name: _: "/nix/store/11111111111111111111111111111111-${name}";
    };
    runCommand = name: _: _: "/nix/store/22222222222222222222222222222222-${name}";
    writeText = _: text: text;
    linkFarm = _: entries: lib.listToAttrs (map (entry: lib.nameValuePair (baseNameOf entry.name) entry.path) entries);
  };

  anything = lib.mkOption {
    type = lib.types.anything;
    default = { };
  };
  list = lib.mkOption {
    type = lib.types.listOf lib.types.anything;
    default = [ ];
  };
  nixos = {
    options = {
      assertions = list;
      systemd = {
        packages = list;
        targets = anything;
        services = anything;
        sockets = anything;
        tmpfiles.rules = list;
      };
      users = {
        groups = anything;
        users = anything;
      };
      networking.firewall = anything;
      services.postgresql = anything;
    };
  };

  machine =
    settings:
    let
      inherit
        (lib.evalModules {
          modules = [
            nixos
            (import ../module.nix { inherit self; })
            { config.services.quintet = settings; }
          ];
          specialArgs = { inherit pkgs; };
        })
        config
        ;
    in
    {
      settings = lib.mapAttrs (name: _: config.services.quintet.${name}.settings) packages;
      units = lib.foldl' (all: one: all // one) { } config.systemd.packages;
      inherit (config.systemd) services sockets;
      inherit (config.networking) firewall;
      users = lib.attrNames config.users.users;
      refused = map (assertion: assertion.message) (lib.filter (assertion: !assertion.assertion) config.assertions);
    };
in
lib.mapAttrs (_: machine) {
  # As the Debian packages install it.
  plain.enable = true;
  nothing = { };
  public = {
    enable = true;
    origin = "https://shop.example";
    acme.names = [ "shop.example" ];
    openFirewall = true;
    postgresql = true;
    identity-provider.credentials."identity-provider.sealing-key" = "/run/keys/sealing";
  };
  careless = {
    identity-provider = {
      enable = true;
      settings.keys.file = "${builtins.storeDir}/33333333333333333333333333333333-key";
    };
  };
  # The machine of a fleet that has the gateway alone.
  front = {
    edge-gateway.enable = true;
    fleet = {
      core-api = [
        "10.0.0.2:9001"
        "10.0.0.3:9001"
      ];
      identity-provider = [ "10.0.0.2:9002" ];
    };
  };
  # One that serves it.
  back = {
    core-api = {
      enable = true;
      address = "10.0.0.2:9001";
    };
  };
}
