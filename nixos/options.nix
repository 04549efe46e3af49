# What services.quintet can be told.
{
  lib,
  toml,
  packages,
}:
let
  inherit (lib)
    literalExpression
    mkEnableOption
    mkOption
    types
    ;
  binaries = import ./binaries.nix;

  ofBinary = name: {
    enable = mkEnableOption binaries.${name}.description;
    package = mkOption {
      type = types.package;
      default = packages.${name};
      defaultText = literalExpression "quintet.packages.\${system}.${name}";
      description = "The package that holds `bin/${name}`.";
    };
    settings = mkOption {
      inherit (toml) type;
      default = { };
      description = ''
        The configuration file `${name}.toml`: what is set here, over `packaging/config/${name}.toml` with the public
        address `services.quintet.origin`. docs/reference/configuration/${name}.md lists every key.
      '';
    };
    credentials = mkOption {
      type = types.attrsOf types.externalPath;
      default = { };
      example = {
        "${name}.session-key" = "/run/keys/session-key";
      };
      description = ''
        Secrets by name, each read by systemd from a path outside the Nix store. Settings refer to one as
        `credential:NAME`. Files in `/etc/credstore` and credentials of the machine whose names begin with `${name}.`
        need not be named here.
      '';
    };
    checkConfig = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether the build fails when `${name} --check-config` does. Credentials are 32 bytes in hexadecimal while it is
        asked; turn it off where a secret has another form, such as a key in PEM.
      '';
    };
    address = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "10.0.0.1:9001";
      description = ''
        An IP address and a port to listen on instead of a unix socket, for a fleet of several machines. What is sent there is
        not encrypted: it belongs on a network that is yours alone, and behind its firewall.
      '';
    };
  };
in
lib.mapAttrs (name: _: ofBinary name) binaries
// {
  enable = mkEnableOption "all five binaries of Quintet on this machine";
  origin = mkOption {
    type = types.strMatching "https://[^/]+";
    default = "https://localhost";
    example = "https://shop.example";
    description = "Where browsers and clients reach the gateway, without a slash at the end.";
  };
  certificate = mkOption {
    type = types.nullOr (
      types.submodule {
        options = {
          cert = mkOption {
            type = types.externalPath;
            description = "PEM file with the chain.";
          };
          key = mkOption {
            type = types.externalPath;
            description = "PEM file with the key, which the user quintet-gateway can read.";
          };
        };
      }
    );
    default = null;
    description = "The gateway's certificate, in files. They are taken up when they change.";
  };
  acme = {
    names = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "shop.example" ];
      description = "Names of a certificate that the gateway itself gets and renews.";
    };
    contact = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "mailto:ops@shop.example" ];
      description = "Where the authority may write to.";
    };
    directory = mkOption {
      type = types.str;
      default = "https://acme-v02.api.letsencrypt.org/directory";
      description = "The authority. Setting names means that you agree to its terms of service.";
    };
  };
  openFirewall = mkOption {
    type = types.bool;
    default = false;
    description = "Opens TCP 80 and 443 and UDP 443 where the gateway runs.";
  };
  postgresql = mkOption {
    type = types.bool;
    default = false;
    description = ''
      Keeps the databases in a PostgreSQL server on this machine, reached by its unix socket, instead of in SQLite. For a
      server elsewhere set `settings.database.url_file`.
    '';
  };
  fleet = mkOption {
    type = types.submodule {
      options = lib.mapAttrs (
        name: _:
        mkOption {
          type = types.listOf types.str;
          default = [ ];
          example = [
            "10.0.0.1:9001"
            "10.0.0.2:9001"
          ];
          description = "Where ${name} listens on the machines of the fleet; empty where it is on this one.";
        }
      ) (removeAttrs binaries [ "edge-gateway" ]);
    };
    default = { };
    description = ''
      The same on every machine of a fleet: whom the gateways and services speak to. Databases are then on PostgreSQL, and
      blobs in a directory that all machines see. Where the sink is on another machine, `settings.telemetry.otlp` of each
      service is `http://` with the address of its `listen.otlp`.
    '';
  };
}
