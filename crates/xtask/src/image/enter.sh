# Runs one command in the root with the tools, with the directory of images at /work. Called inside a private mount
# namespace: the mounts end with it.
#   enter.sh ROOT WORK COMMAND...
set -eu
root=$1 work=$2
shift 2
mkdir -p "$root/work"
mount --bind "$work" "$root/work"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
chroot=$(command -v chroot || echo /usr/sbin/chroot)
exec "$chroot" "$root" "$@"
