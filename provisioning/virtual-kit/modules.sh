#!/bin/sh
# Inside a chroot of its own, by image.sh: what Debian does not build, into /build/out as it is to lie in the kit:
# gpio-sim (button and lights), vimc (a camera below libcamera), vkms (a screen); lgpio and picamera2.
# modules.sh KERNEL "DEBIAN-PACKAGES"
set -eu
kernel=$1
apt-get update --quiet
# shellcheck disable=SC2086  # a list of words
apt-get install --yes --quiet --no-install-recommends $2
built=/lib/modules/$kernel/build
[ -d "$built" ] || { echo "the headers are of another kernel: $(ls /lib/modules), expected $kernel" >&2; exit 1; }
mkdir -p /build/source /build/out
cd /build
tar -xJf /usr/src/linux-source-6.12.tar.xz -C source --strip-components=1 linux-source-6.12/drivers/gpio \
    linux-source-6.12/drivers/gpu/drm/vkms linux-source-6.12/drivers/media/test-drivers/vimc linux-source-6.12/kernel/irq

# gpio-sim needs interrupts that are simulated; these are the kernel's own, not exported, so they are linked in. And
# what is not exported of theirs is reached by what is.
mkdir gpio
cp source/drivers/gpio/*.h gpio/
cp source/drivers/gpio/gpio-sim.c gpio/gpio-sim-main.c
sed 's/irq_to_desc(irqnum)/irq_data_to_desc(irq_get_irq_data(irqnum))/' source/kernel/irq/irq_sim.c >gpio/irq_sim.c
printf 'obj-m := gpio-sim.o\ngpio-sim-y := gpio-sim-main.o irq_sim.o\n' >gpio/Kbuild
# The screen hangs on a socket that leads to one: what is called "Virtual" is no screen to the kit.
sed -i 's/DRM_MODE_CONNECTOR_VIRTUAL/DRM_MODE_CONNECTOR_HDMIA/' source/drivers/gpu/drm/vkms/vkms_output.c
make -C "$built" M=/build/gpio modules
make -C "$built" M=/build/source/drivers/gpu/drm/vkms CONFIG_DRM_VKMS=m modules
make -C "$built" M=/build/source/drivers/media/test-drivers/vimc CONFIG_VIDEO_VIMC=m modules
updates=/build/out/usr/lib/modules/$kernel/updates
mkdir -p "$updates"
find gpio source -name '*.ko' -exec cp {} "$updates/" \;
strip -g "$updates"/*.ko
for module in gpio-sim vimc vkms; do
    [ -s "$updates/$module.ko" ] || { echo "$module.ko was not made" >&2; exit 1; }
done

# As Raspberry Pi OS has them from apt.
python3 -m venv /build/venv
packages=/build/out$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))' | sed 's#/usr/lib/python3/#/usr/local/lib/python3.13/#')
pip() {
    /build/venv/bin/pip --quiet --disable-pip-version-check "$@"
}
# lgpio's own source has the C library too, where it is asked to.
PYPI=1 pip install --target "$packages" --no-binary lgpio lgpio
pip install --target "$packages" --no-deps --require-hashes --only-binary :all: -r /build/picamera2.txt
pip install --target "$packages" --no-deps simplejpeg PiDNG videodev2 tqdm libarchive-c
find "$packages" -name __pycache__ -prune -exec rm -rf {} +
