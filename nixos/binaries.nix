# The five: what each is for, and which user runs it. Everything else stands in ../packaging.
{
  edge-gateway = {
    description = "Quintet edge gateway";
    user = "quintet-gateway";
  };
  core-api = {
    description = "Quintet core API";
    user = "quintet-core";
  };
  # The worker runs the modules' jobs on the modules' tables and files, so it is the same user as the core API.
  async-worker = {
    description = "Quintet async worker";
    user = "quintet-core";
  };
  identity-provider = {
    description = "Quintet identity provider";
    user = "quintet-identity";
  };
  telemetry-sink = {
    description = "Quintet telemetry sink";
    user = "quintet-telemetry";
  };
}
