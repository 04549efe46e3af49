# A whole company on one stock NixOS machine, changed with `nixos-rebuild switch`. Add the machine's own hardware.
{ modulesPath, ... }:
{
  imports = [ (modulesPath + "/profiles/minimal.nix") ];
  boot.loader.systemd-boot.enable = true;
  fileSystems."/" = {
    device = "/dev/disk/by-label/nixos";
    fsType = "ext4";
  };
  fileSystems."/boot" = {
    device = "/dev/disk/by-label/boot";
    fsType = "vfat";
  };
  networking.hostName = "quintet";
  system.stateVersion = "26.05";

  services.quintet = {
    enable = true;
    origin = "https://shop.example";
    openFirewall = true;
    acme = {
      names = [ "shop.example" ];
      contact = [ "mailto:ops@shop.example" ];
    };
  };
}
