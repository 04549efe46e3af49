# Runs one command in the Debian root, with the checkout, the target directory and cargo's home at fixed paths, so
# that no path of the outer machine can reach a compiled file. Called inside a private mount namespace: the mounts
# end with it.
#   enter.sh ROOT CHECKOUT TARGET CARGO_HOME CA_BUNDLE COMMAND...
set -eu
root=$1 checkout=$2 target=$3 cargo_home=$4 ca_bundle=$5
shift 5
mkdir -p "$root/build/quintet" "$root/build/target" "$root/build/cargo" "$root/etc/ssl/certs"
mount --bind "$checkout" "$root/build/quintet"
mount --bind "$target" "$root/build/target"
mount --bind "$cargo_home" "$root/build/cargo"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -L "$ca_bundle" "$root/etc/ssl/certs/host.crt"
chroot=$(command -v chroot || echo /usr/sbin/chroot)
exec "$chroot" "$root" /bin/sh -c 'cd /build/quintet && exec "$@"' sh "$@"
