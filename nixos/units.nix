# The units in ../packaging/systemd as NixOS runs them: the same text, with the program and its configuration in the store.
{ lib }:
let
  directory = ../packaging/systemd;
  read = name: builtins.readFile (directory + "/${name}");
  names = lib.attrNames (builtins.readDir directory);
in
{
  # What all share: the target and the slice.
  shared = lib.genAttrs (lib.filter (name: !lib.hasPrefix "quintet-" name) names) read;

  # The units of one binary by name, from the directory of its program and the path of its configuration.
  of =
    {
      binary,
      programs,
      configuration,
    }:
    let
      own = lib.filter (
        name:
        lib.hasPrefix "quintet-${binary}-" name || name == "quintet-${binary}.service"
      ) names;
    in
    lib.genAttrs own (
      name:
      lib.replaceStrings
        [
          "ExecStart=/usr/bin/${binary} --config /etc/quintet/${binary}.toml"
          "ExecPaths=/usr/bin\n"
        ]
        [
          "ExecStart=${programs}/${binary} --config ${configuration}"
          "ExecPaths=${programs}\n"
        ]
        (read name)
    );
}
