#!/usr/bin/env bash
# npm run test:emulated [-- part of a test's name ...]
# fovea-native-test with AVX-512 on a processor that has none: on an emulated one (Bochs), under Debian's kernel and a file
# system of nothing else. A thousand times slower, so that the kernels are tested, not what surrounds them.
set -euo pipefail

tests=("$@")
[[ ${#tests[@]} -gt 0 ]] || tests=(sizes random finite without contract masks merging)
program=build/fovea-native-test
packages=(bochs bochsbios vgabios busybox-static cpio genisoimage isolinux syslinux-common)
dpkg --status "${packages[@]}" >/dev/null || { echo "needs Debian's packages: apt-get install ${packages[*]}" >&2; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
disk=$folder/disk/isolinux root=$folder/root
mkdir -p "$disk" "$root"/{bin,proc,sys}

kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2 }')
(cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root "$kernel" && dpkg-deb --extract "$kernel"*.deb kernel)
cp "$folder"/kernel/boot/vmlinuz-* "$disk/vmlinuz"

cp "$program" /bin/busybox "$root/bin"
ldd "$program" | grep -o '/lib[^ ]*' | while read -r library; do
  mkdir -p "$root$(dirname "$library")" && cp --dereference "$library" "$root$library"
done
cat >"$root/init" <<END
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
export FOVEA_CPU_ISA=avx512 FOVEA_TEST_FEW=1
for test in ${tests[*]}; do /bin/$(basename "$program") \$test; done
/bin/busybox sleep 2
/bin/busybox poweroff -f
END
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$disk/initrd"

cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$disk"
# The emulator's and the kernel's sizes of saved registers agree only in the format without compaction.
cat >"$disk/isolinux.cfg" <<END
default linux
label linux
kernel vmlinuz
append initrd=initrd console=ttyS0 quiet mitigations=off noxsaves clearcpuid=xsavec,xsaves
END
genisoimage -quiet -o "$folder/disk.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
  -no-emul-boot -boot-load-size 4 -boot-info-table "$folder/disk"

cat >"$folder/bochsrc" <<END
display_library: rfb, options="timeout=0"
cpu: model=corei7_skylake_x, ips=100000000
megs: 1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=$folder/disk.iso, status=inserted
boot: cdrom
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
com1: enabled=1, mode=file, dev=$folder/output
log: $folder/log
panic: action=fatal
END
echo continue >"$folder/debugger"
# Its way of switching off is a panic.
{ timeout 1800 bochs -q -f "$folder/bochsrc" -rc "$folder/debugger" </dev/null >/dev/null || true; } 2>/dev/null
cat "$folder/output"
[[ $(grep --count -E '^[1-9][0-9]* passed, 0 failed' "$folder/output") -eq ${#tests[@]} ]]
