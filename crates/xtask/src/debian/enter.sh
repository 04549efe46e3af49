# Runs one command in a Debian root, under a layer in memory that takes every change. Called with mount, process, network
# and other namespaces of its own: what it mounts ends with them.
#   enter.sh run|boot ROOT SHARED COMMAND...
set -eu
mode=$1 root=$2 shared=$3
shift 3
layers=${root%/*}/layers
mkdir -p "$layers"
mount -t tmpfs tmpfs "$layers"
new=$layers/merged
mkdir "$layers/upper" "$layers/work" "$new"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$layers/upper,workdir=$layers/work" "$new"
mount --bind "$shared" "$new/mnt"
mount -o remount,bind,ro "$new/mnt"
mount -t proc proc "$new/proc"
mount -t tmpfs tmpfs "$new/dev"
for device in null zero full random urandom tty; do
    cp -a "/dev/$device" "$new/dev/$device"
done
mkdir "$new/dev/pts" "$new/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$new/dev/pts"
ln -s pts/ptmx "$new/dev/ptmx"
if [ "$mode" = boot ]; then
    mount -t sysfs sysfs "$new/sys"
    # Where the machine has control groups of the first version, systemd gets a tree of the second without controllers: it
    # keeps track of processes, and limits are not tested.
    mount -t cgroup2 cgroup2 "$new/sys/fs/cgroup"
    mount -t tmpfs tmpfs "$new/run"
    # Nothing here has devices to wait for, and nobody signs in.
    for unit in getty.target console-getty.service systemd-logind.service; do
        ln -s /dev/null "$new/etc/systemd/system/$unit"
    done
    # Not chroot: systemd gives its services roots of their own, which starts from the root of the namespace.
    mkdir "$new/.old"
    pivot_root "$new" "$new/.old"
    cd /
    umount -l /.old
    rmdir /.old
    # Outside of a container systemd does it: mounts that it makes for services, such as their credentials, reach them so.
    mount --make-rshared /
    exec env -i container=quintet SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
fi
exec chroot "$new" "$@"
