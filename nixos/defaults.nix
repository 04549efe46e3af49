# The configurations in ../packaging/config, with a public address of one's own.
{ lib }:
{ origin }:
let
  adapt =
    value:
    if lib.isAttrs value then
      lib.mapAttrs (_: adapt) value
    else if lib.isList value then
      map adapt value
    else if lib.isString value then
      lib.replaceStrings [ "https://localhost" ] [ origin ] value
    else
      value;
in
lib.mapAttrs (
  name: _: adapt (lib.importTOML (../packaging/config + "/${name}.toml"))
) (import ./binaries.nix)
