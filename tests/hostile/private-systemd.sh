#!/bin/bash
# Runs systemd as process 1 of its own namespaces, over a copy-on-write view of this machine.
# Changes in it do not reach the machine. Killing this process (SIGKILL) ends it.
set -euo pipefail

if [ "${1-}" != inside ]; then
  # systemd moves the processes of its control group, so it needs a group of its own.
  group=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET)/edgepass-test-$$
  mkdir "$group"
  echo $$ >"$group/cgroup.procs"
  exec unshare --pid --fork --kill-child=KILL --mount --uts --ipc --net --cgroup "$0" inside
fi

mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
cd /mnt/root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
# systemd finds only these units, and none of the machine's own services.
mount -t tmpfs -o mode=755 tmpfs etc/systemd
mkdir -p etc/systemd/system/sysinit.target.wants
for unit in sysinit.target basic.target sockets.target multi-user.target shutdown.target \
  systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket; do
  ln -s "/lib/systemd/system/$unit" etc/systemd/system/
done
ln -s /lib/systemd/system/systemd-journald.service etc/systemd/system/sysinit.target.wants/
pivot_root . mnt
umount -l /mnt
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  container=test SYSTEMD_UNIT_PATH=/etc/systemd/system \
  /lib/systemd/systemd --system --unit=multi-user.target --log-target=console --show-status=false
