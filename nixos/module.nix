# services.quintet.<binary>: one systemd service each, with a TOML configuration typed by Nix, secrets as systemd
# credentials, and nothing a service does not need.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    filterAttrs
    literalExpression
    mapAttrs
    mapAttrs'
    mapAttrsToList
    mkEnableOption
    mkIf
    mkMerge
    mkOption
    nameValuePair
    types
    ;

  binaries = import ./binaries.nix;
  toml = pkgs.formats.toml { };
  enabled = filterAttrs (_: service: service.enable) config.services.quintet;

  socket = name: "unix:/run/quintet/${name}.sock";
  adminSocket = name: "unix:/run/quintet/${name}/admin.sock";
  otlpSocket = "unix:/run/quintet/telemetry-sink.otlp.sock";

  # Where each listens and keeps its data unless `settings` says otherwise. The addresses are those of the socket
  # units: a service started without them binds the same ones.
  defaults =
    let
      auth = {
        audience = "quintet";
        jwks = socket "identity-provider";
      };
      database = name: { url = "sqlite:/var/lib/quintet/${name}/${name}.db"; };
      # The core API and the worker share one database and one directory of files.
      shared = {
        database = database "core";
        storage.blobs = "/var/lib/quintet/core/blobs";
        inherit auth;
      };
    in
    {
      edge-gateway.listen = binaries.edge-gateway.sockets;
      core-api = shared;
      async-worker = shared;
      identity-provider.database = database "identity";
      telemetry-sink = {
        inherit auth;
        storage.directory = "/var/lib/quintet/telemetry";
        listen.otlp = otlpSocket;
        scrape = map (name: {
          inherit name;
          target = adminSocket name;
        }) (lib.attrNames enabled);
      };
    };

  stateDirectories = {
    edge-gateway = [ "quintet/gateway" ];
    core-api = [ "quintet/core" ];
    async-worker = [ "quintet/core" ];
    identity-provider = [ "quintet/identity" ];
    telemetry-sink = [ "quintet/telemetry" ];
  };

  # Every string of a nested value, with the names that lead to it.
  strings =
    path: value:
    if lib.isAttrs value then
      lib.concatLists (mapAttrsToList (name: strings (path ++ [ name ])) value)
    else if lib.isList value then
      lib.concatMap (strings path) value
    else if lib.isString value then
      [ { inherit path value; } ]
    else
      [ ];
  secretsInStore = lib.filter (
    entry: lib.hasPrefix builtins.storeDir entry.value && lib.hasSuffix "file" (lib.last entry.path)
  );

  configuration =
    name: service:
    let
      file = toml.generate "${name}.toml" service.settings;
    in
    if service.checkConfig then
      # The binary itself decides: an unknown key or a wrong type fails the build, not the deployment.
      pkgs.runCommand "${name}-checked.toml" { } ''
        ${lib.getExe' service.package name} --check-config --config ${file}
        cp ${file} $out
      ''
    else
      file;

  options = name: {
    enable = mkEnableOption binaries.${name}.description;
    package = mkOption {
      type = types.package;
      default = self.packages.${pkgs.stdenv.hostPlatform.system}.${name};
      defaultText = literalExpression "quintet.packages.\${system}.${name}";
      description = "The package that holds `bin/${name}`.";
    };
    settings = mkOption {
      inherit (toml) type;
      default = { };
      description = "The configuration file `${name}.toml`; docs/reference/config.md lists every key.";
    };
    credentials = mkOption {
      type = types.attrsOf types.path;
      default = { };
      example = {
        session-key = "/run/keys/session-key";
      };
      description = ''
        Secrets by name, each read by systemd from a path outside the Nix store. Settings refer to one as
        `credential:NAME`.
      '';
    };
    checkConfig = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether the build fails when the configuration is wrong. The check cannot see secrets; turn it off for a
        configuration whose check reads one.
      '';
    };
  };

  # One socket unit for each name, because a unit has one name for all its descriptors.
  socketUnits =
    name:
    mapAttrs' (
      socket: addresses:
      nameValuePair "quintet-${name}-${socket}" {
        description = "${binaries.${name}.description}: ${socket}";
        wantedBy = [ "sockets.target" ];
        listenStreams = addresses;
        socketConfig = {
          Service = "quintet-${name}.service";
          FileDescriptorName = socket;
          BindIPv6Only = "ipv6-only";
          # For unix sockets: the gateway reaches the others as a member of the group.
          SocketUser = binaries.${name}.user;
          SocketGroup = "quintet";
          SocketMode = "0660";
          Backlog = 4096;
        };
      }
    ) binaries.${name}.sockets;

  unit = name: service: {
    description = binaries.${name}.description;
    documentation = [ "man:${name}(8)" ];
    wantedBy = [ "multi-user.target" ];
    requires = map (socket: "${socket}.socket") (lib.attrNames (socketUnits name));
    after = [ "network.target" ];
    restartTriggers = [ (configuration name service) ];
    serviceConfig = {
      Type = "notify-reload";
      ExecStart = "${lib.getExe' service.package name} --config ${configuration name service}";
      User = binaries.${name}.user;
      Group = "quintet";
      LoadCredential = mapAttrsToList (credential: path: "${credential}:${path}") service.credentials;
      StateDirectory = stateDirectories.${name};
      StateDirectoryMode = "0700";
      RuntimeDirectory = "quintet/${name}";
      RuntimeDirectoryMode = "0750";
      # Admin sockets are for the group: the sink scrapes them.
      UMask = "0007";
      Restart = "always";
      RestartSec = "200ms";
      RestartSteps = 6;
      RestartMaxDelaySec = "10s";
      # A wrong configuration or missing secret (78), usage (64), a directory that cannot be made (73).
      RestartPreventExitStatus = [
        64
        73
        78
      ];
      WatchdogSec = "30s";
      TimeoutStopSec = "30s";
      LimitNOFILE = 65536;

      AmbientCapabilities = lib.optional (name == "edge-gateway") "CAP_NET_BIND_SERVICE";
      CapabilityBoundingSet = if name == "edge-gateway" then [ "CAP_NET_BIND_SERVICE" ] else [ "" ];
      DevicePolicy = "closed";
      LockPersonality = true;
      MemoryDenyWriteExecute = true;
      NoNewPrivileges = true;
      PrivateDevices = true;
      PrivateTmp = true;
      # The sink reads the host's own figures; the others see only themselves.
      ProcSubset = if name == "telemetry-sink" then "all" else "pid";
      ProtectClock = true;
      ProtectControlGroups = true;
      ProtectHome = true;
      ProtectHostname = true;
      ProtectKernelLogs = true;
      ProtectKernelModules = true;
      ProtectKernelTunables = true;
      ProtectProc = if name == "telemetry-sink" then "default" else "invisible";
      ProtectSystem = "strict";
      RemoveIPC = true;
      RestrictAddressFamilies = [
        "AF_INET"
        "AF_INET6"
        "AF_UNIX"
      ];
      RestrictNamespaces = true;
      RestrictRealtime = true;
      RestrictSUIDSGID = true;
      SystemCallArchitectures = "native";
      SystemCallErrorNumber = "EPERM";
      SystemCallFilter = [
        "@system-service"
        "~@privileged @resources"
      ];
    };
  };
in
{
  options.services.quintet = mapAttrs (name: _: options name) binaries;

  config = mkIf (enabled != { }) {
    assertions = lib.concatLists (
      mapAttrsToList (
        name: service:
        map (entry: {
          assertion = false;
          message = ''
            services.quintet.${name}.settings.${lib.concatStringsSep "." entry.path} names a file in the Nix store, which
            every user can read. Put the secret elsewhere and name it in services.quintet.${name}.credentials.
          '';
        }) (secretsInStore (strings [ ] service.settings))
      ) enabled
    );

    services.quintet = mkMerge (
      mapAttrsToList (name: default: {
        ${name}.settings = lib.mapAttrsRecursive (_: lib.mkDefault) (
          lib.recursiveUpdate {
            service.admin = adminSocket name;
            telemetry.otlp = otlpSocket;
          } (lib.recursiveUpdate (lib.optionalAttrs (name != "edge-gateway") { listen.http = socket name; }) default)
        );
      }) defaults
    );

    users.groups.quintet = { };
    users.users = mapAttrs' (
      name: _:
      nameValuePair binaries.${name}.user {
        isSystemUser = true;
        group = "quintet";
        description = binaries.${name}.description;
      }
    ) (filterAttrs (name: _: name != "async-worker" || !(enabled ? core-api)) enabled);

    systemd.tmpfiles.rules = [ "d /run/quintet 0755 root root -" ];
    systemd.sockets = lib.concatMapAttrs (name: _: socketUnits name) enabled;
    systemd.services = mapAttrs' (name: service: nameValuePair "quintet-${name}" (unit name service)) enabled;
  };
}
