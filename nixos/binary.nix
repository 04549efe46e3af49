# One of the five by itself, so that a machine's closure holds only what it runs.
{
  binary,
  lib,
  quintet,
  runCommand,
}:
runCommand "${binary}-${quintet.version}"
  {
    allowedReferences = [ ];
    meta = quintet.meta // {
      mainProgram = binary;
    };
  }
  ''
    install -D --mode=0755 ${lib.getExe' quintet binary} $out/bin/${binary}
  ''
