# services.quintet.<binary>: the units and configurations of ../packaging with what a machine's settings change, checked by
# the binaries themselves while it is built.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    concatLists
    filterAttrs
    mapAttrs
    mapAttrsToList
    mkDefault
    mkIf
    mkMerge
    optionalAttrs
    ;

  cfg = config.services.quintet;
  binaries = import ./binaries.nix;
  toml = pkgs.formats.toml { };
  units = import ./units.nix { inherit lib; };
  defaults = import ./defaults.nix { inherit lib; } { inherit (cfg) origin; };
  enabled = filterAttrs (name: _: cfg.${name}.enable) binaries;
  runs = name: cfg.${name}.enable;

  # Of one member of the fleet: its own socket here, else the first address elsewhere.
  url =
    name:
    let
      elsewhere = cfg.fleet.${name};
    in
    if elsewhere == [ ] then "unix:/run/quintet/${name}.sock" else "http://${lib.head elsewhere}";

  upstream =
    entry:
    let
      elsewhere = cfg.fleet.${entry.name} or [ ];
    in
    if elsewhere == [ ] then entry else entry // { addresses = elsewhere; };

  database = user: { url = "postgres:///${user}?host=/run/postgresql&user=${user}"; };

  # What the machine's options make of a configuration.
  chosen = mapAttrs (
    name: default:
    let
      auth = optionalAttrs (default ? auth) {
        auth = default.auth // {
          jwks = url "identity-provider";
        };
      };
      listen = optionalAttrs (cfg.${name}.address != null) {
        listen = default.listen // {
          http = cfg.${name}.address;
        };
      };
      own = {
        edge-gateway = {
          identity = default.identity // {
            jwks = url "identity-provider";
          };
          upstreams = map upstream default.upstreams;
          certificates =
            if cfg.acme.names != [ ] then
              [ { acme = cfg.acme.names; } ]
            else if cfg.certificate != null then
              [ { inherit (cfg.certificate) cert key; } ]
            else
              default.certificates;
        }
        // optionalAttrs (cfg.acme.names != [ ]) {
          acme = {
            inherit (cfg.acme) contact directory;
            terms_of_service_agreed = true;
            storage = "/var/lib/quintet/gateway/acme";
          };
        };
        core-api = optionalAttrs cfg.postgresql { database = database "quintet-core"; };
        async-worker = optionalAttrs cfg.postgresql { database = database "quintet-core"; };
        identity-provider = optionalAttrs cfg.postgresql { database = database "quintet-identity"; };
        # Of those that run here; a machine's others are scraped by the sink beside them.
        telemetry-sink.scrape = lib.filter (target: runs target.name) default.scrape;
      };
    in
    default // auth // listen // own.${name}
  ) defaults;

  # Every string of a nested value, with the names that lead to it.
  strings =
    path: value:
    if lib.isAttrs value then
      concatLists (mapAttrsToList (name: strings (path ++ [ name ])) value)
    else if lib.isList value then
      lib.concatMap (strings path) value
    else if lib.isString value then
      [ { inherit path value; } ]
    else
      [ ];
  secretsInStore = lib.filter (
    entry: lib.hasPrefix builtins.storeDir entry.value && lib.hasSuffix "file" (lib.last entry.path)
  );
  # The names in `credential:NAME`.
  credentialsOf =
    settings:
    lib.unique (
      map (entry: lib.removePrefix "credential:" entry.value) (
        lib.filter (entry: lib.hasPrefix "credential:" entry.value) (strings [ ] settings)
      )
    );

  configuration =
    name:
    let
      service = cfg.${name};
      file = toml.generate "${name}.toml" service.settings;
    in
    if service.checkConfig then
      # The binary itself decides: an unknown key or a wrong type fails the build, not the deployment.
      pkgs.runCommand "${name}-checked.toml" { } ''
        export CREDENTIALS_DIRECTORY=$PWD/credentials
        mkdir credentials
        for name in ${lib.escapeShellArgs (credentialsOf service.settings)}; do
          (umask 077 && printf '%064d' 0 > "credentials/$name")
        done
        ${lib.getExe' service.package name} --check-config --config ${file}
        cp ${file} $out
      ''
    else
      file;

  unitTexts =
    name:
    units.of {
      binary = name;
      programs = "${lib.getBin cfg.${name}.package}/bin";
      configuration = configuration name;
    };
  texts = lib.concatMapAttrs (name: _: unitTexts name) enabled // units.shared;
  named =
    suffix: of:
    lib.concatMapAttrs (
      name: _:
      lib.concatMapAttrs (
        unit: _: optionalAttrs (lib.hasSuffix suffix unit) { ${lib.removeSuffix suffix unit} = of name; }
      ) (unitTexts name)
    ) enabled;
in
{
  options.services.quintet = import ./options.nix {
    inherit lib toml;
    packages = self.packages.${pkgs.stdenv.hostPlatform.system};
  };

  config = mkMerge [
    {
      services.quintet = mapAttrs (name: _: {
        enable = mkIf cfg.enable (mkDefault true);
        settings = lib.mapAttrsRecursive (_: mkDefault) chosen.${name};
      }) binaries;
    }
    (mkIf (enabled != { }) {
      assertions =
        concatLists (
          mapAttrsToList (
            name: _:
            map (entry: {
              assertion = false;
              message = ''
                services.quintet.${name}.settings.${lib.concatStringsSep "." entry.path} names a file in the Nix store, which
                every user can read. Put the secret elsewhere and name it in services.quintet.${name}.credentials.
              '';
            }) (secretsInStore (strings [ ] cfg.${name}.settings))
          ) enabled
        )
        ++ [
          {
            assertion = cfg.certificate == null || cfg.acme.names == [ ];
            message = "services.quintet: certificate and acme.names are both set; keep one.";
          }
          {
            assertion = !(cfg.postgresql && cfg.fleet.core-api != [ ]);
            message = ''
              services.quintet.postgresql is a server for this machine alone. Machines of a fleet share one:
              set settings.database.url_file of each service.
            '';
          }
        ];

      systemd = {
        packages = [
          (pkgs.linkFarm "quintet-units" (
            mapAttrsToList (name: text: {
              name = "lib/systemd/system/${name}";
              path = pkgs.writeText name text;
            }) texts
          ))
        ];
        # NixOS does not read [Install].
        targets.quintet.wantedBy = [ "multi-user.target" ];
        services = named ".service" (name: {
          wantedBy = [ "quintet.target" ];
          serviceConfig = optionalAttrs (cfg.${name}.credentials != { }) {
            LoadCredential = mapAttrsToList (credential: path: "${credential}:${path}") cfg.${name}.credentials;
          };
        });
        sockets = mkMerge [
          (named ".socket" (_: {
            wantedBy = [ "sockets.target" ];
          }))
          (lib.concatMapAttrs (
            name: _:
            optionalAttrs (cfg.${name}.address != null) {
              # The first, empty one removes the unix socket.
              "quintet-${name}-http".listenStreams = [
                ""
                cfg.${name}.address
              ];
            }
          ) enabled)
        ];
        tmpfiles.rules = [ (lib.removeSuffix "\n" (builtins.readFile ../packaging/tmpfiles.d/quintet.conf)) ];
      };

      users.groups.quintet = { };
      users.users = lib.concatMapAttrs (name: binary: {
        ${binary.user} = {
          isSystemUser = true;
          group = "quintet";
          description = if binary.user == "quintet-core" then "Quintet core" else binary.description;
        };
      }) enabled;

      networking.firewall = mkIf (cfg.openFirewall && runs "edge-gateway") {
        allowedTCPPorts = [
          80
          443
        ];
        allowedUDPPorts = [ 443 ];
      };

      services.postgresql = mkIf cfg.postgresql {
        enable = true;
        ensureDatabases = [
          "quintet-core"
          "quintet-identity"
        ];
        ensureUsers = map (name: {
          inherit name;
          ensureDBOwnership = true;
        }) [
          "quintet-core"
          "quintet-identity"
        ];
      };
    })
  ];
}
