# The five: what each is for, which user runs it, and which sockets systemd holds for it (name, then addresses). A
# socket that systemd holds refuses no connection while its service restarts.
{
  edge-gateway = {
    description = "Quintet edge gateway";
    user = "quintet-gateway";
    sockets = {
      https = [
        "0.0.0.0:443"
        "[::]:443"
      ];
      http = [
        "0.0.0.0:80"
        "[::]:80"
      ];
    };
  };
  core-api = {
    description = "Quintet core API";
    user = "quintet-core";
    sockets.http = [ "/run/quintet/core-api.sock" ];
  };
  # The worker runs the modules' jobs on the modules' tables and files, so it is the same user as the core API.
  async-worker = {
    description = "Quintet async worker";
    user = "quintet-core";
    sockets.http = [ "/run/quintet/async-worker.sock" ];
  };
  identity-provider = {
    description = "Quintet identity provider";
    user = "quintet-identity";
    sockets.http = [ "/run/quintet/identity-provider.sock" ];
  };
  telemetry-sink = {
    description = "Quintet telemetry sink";
    user = "quintet-telemetry";
    sockets = {
      http = [ "/run/quintet/telemetry-sink.sock" ];
      otlp = [ "/run/quintet/telemetry-sink.otlp.sock" ];
    };
  };
}
