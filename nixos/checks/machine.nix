# A virtual machine with all five: they start in their sandboxes, people are sent to sign in, and a restart refuses nobody.
{ module, testers }:
testers.runNixOSTest {
  name = "quintet-machine";
  nodes.machine =
    { pkgs, ... }:
    {
      imports = [ module ];
      environment.systemPackages = [ pkgs.openssl ];
      services.quintet.enable = true;
      virtualisation.memorySize = 2048;
      # What the Debian packages do when they are installed.
      systemd.services.quintet-secrets = {
        wantedBy = [ "quintet.target" ];
        before = [ "quintet.target" ];
        requiredBy = map (name: "quintet-${name}.service") [
          "async-worker"
          "edge-gateway"
          "identity-provider"
        ];
        path = [ pkgs.openssl ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
        };
        script = ''
          umask 077
          mkdir -p /etc/credstore
          for name in quintet.console-client-secret edge-gateway.session-key identity-provider.sealing-key \
              identity-provider.admin-password async-worker.webhook-key; do
            openssl rand -hex 32 > /etc/credstore/$name
          done
          mkdir -p -m 0755 /etc/quintet /etc/quintet/tls
          openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
            -addext subjectAltName=DNS:localhost -keyout /etc/quintet/tls/key.pem -out /etc/quintet/tls/cert.pem
          chown quintet-gateway: /etc/quintet/tls/key.pem
        '';
      };
      systemd.services.quintet-edge-gateway.after = [ "quintet-secrets.service" ];
      systemd.services.quintet-identity-provider.after = [ "quintet-secrets.service" ];
      systemd.services.quintet-async-worker.after = [ "quintet-secrets.service" ];
    };
  testScript = ''
    binaries = ["telemetry-sink", "identity-provider", "core-api", "async-worker", "edge-gateway"]
    discovery = "curl --fail --silent --max-time 20 --cacert /etc/quintet/tls/cert.pem https://localhost/identity/.well-known/openid-configuration"
    for binary in binaries:
        machine.wait_for_unit(f"quintet-{binary}.service")
    machine.wait_until_succeeds(discovery)
    machine.succeed("systemctl restart 'quintet-*.service' & " + " && ".join([discovery] * 20))
    for binary in binaries:
        machine.wait_for_unit(f"quintet-{binary}.service")
        exposure = machine.succeed(f"systemd-analyze security --no-pager quintet-{binary}.service | tail -n 1")
        print(exposure)
  '';
}
