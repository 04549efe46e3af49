# Each of the five asks for no interpreter and no library, and starts.
{
  binutils,
  lib,
  quintet,
  runCommand,
}:
runCommand "quintet-static" { nativeBuildInputs = [ binutils ]; } ''
  for binary in ${lib.concatStringsSep " " (lib.attrNames (import ../binaries.nix))}; do
    file=${quintet}/bin/$binary
    if readelf --program-headers "$file" | grep --quiet INTERP; then
      echo "$binary asks for an interpreter" >&2
      exit 1
    fi
    if readelf --dynamic "$file" | grep --quiet NEEDED; then
      echo "$binary needs a shared library" >&2
      exit 1
    fi
    "$file" --version
  done
  touch $out
''
