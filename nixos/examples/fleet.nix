# Three machines: two that serve everybody and a third with the database and the telemetry sink. Blobs are in a directory that both
# of the first two mount; secrets are in /etc/credstore of each machine, the same on both.
let
  addresses = {
    one = "10.0.0.1";
    two = "10.0.0.2";
    data = "10.0.0.3";
  };
  serving = [
    addresses.one
    addresses.two
  ];
  origin = "https://shop.example";
  fleet = {
    core-api = map (address: "${address}:9001") serving;
    async-worker = map (address: "${address}:9002") serving;
    identity-provider = map (address: "${address}:9003") serving;
    telemetry-sink = [ "${addresses.data}:9004" ];
  };
  otlp = "${addresses.data}:4318";

  base =
    name:
    { modulesPath, ... }:
    {
      imports = [ (modulesPath + "/profiles/minimal.nix") ];
      boot.loader.systemd-boot.enable = true;
      fileSystems."/" = {
        device = "/dev/disk/by-label/nixos";
        fsType = "ext4";
      };
      networking.hostName = name;
      system.stateVersion = "26.05";
    };

  serves = name: {
    imports = [ (base name) ];
    fileSystems."/srv/blobs" = {
      device = "${addresses.data}:/blobs";
      fsType = "nfs";
    };
    systemd.services = {
      quintet-core-api.serviceConfig.ReadWritePaths = [ "/srv/blobs" ];
      quintet-async-worker.serviceConfig.ReadWritePaths = [ "/srv/blobs" ];
    };
    services.quintet =
      let
        telemetry.otlp = "http://${otlp}";
        urlFile = unit: credential: {
          url_file = "/run/credentials/${unit}.service/${credential}";
        };
        shared = unit: {
          inherit telemetry;
          database = urlFile unit "quintet.core-database-url";
          storage.blobs = "/srv/blobs";
        };
      in
      {
        inherit origin fleet;
        openFirewall = true;
        certificate = {
          cert = "/etc/quintet/tls/cert.pem";
          key = "/etc/quintet/tls/key.pem";
        };
        edge-gateway = {
          enable = true;
          settings = { inherit telemetry; };
        };
        core-api = {
          enable = true;
          address = "${addresses.${name}}:9001";
          settings = shared "quintet-core-api";
        };
        async-worker = {
          enable = true;
          address = "${addresses.${name}}:9002";
          settings = shared "quintet-async-worker" // {
            worker.name = name;
          };
        };
        identity-provider = {
          enable = true;
          address = "${addresses.${name}}:9003";
          settings = {
            inherit telemetry;
            database = urlFile "quintet-identity-provider" "identity-provider.database-url";
          };
        };
      };
    # Between the machines of the fleet alone.
    networking.firewall.extraCommands = ''
      iptables --append nixos-fw --source 10.0.0.0/29 --protocol tcp --dport 9001:9003 --jump nixos-fw-accept
    '';
  };
in
{
  one = serves "one";
  two = serves "two";
  data = {
    imports = [ (base "data") ];
    services.quintet = {
      inherit origin fleet;
      telemetry-sink = {
        enable = true;
        address = "${addresses.data}:9004";
        settings.listen.otlp = otlp;
      };
    };
    systemd.sockets.quintet-telemetry-sink-otlp.listenStreams = [
      ""
      otlp
    ];
    services.postgresql.enable = true;
    networking.firewall.extraCommands = ''
      iptables --append nixos-fw --source 10.0.0.0/29 --protocol tcp --match multiport --dports 2049,4318,5432,9004 --jump nixos-fw-accept
    '';
  };
}
