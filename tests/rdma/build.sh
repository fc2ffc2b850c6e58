#!/usr/bin/env bash
# Makes what run.sh needs, out of Debian packages, and prints the folder where it is: a kernel with soft-RoCE, QEMU and
# the verbs library.  Nothing is installed.  The folder is in a cache and named after the versions, so that this is
# done once for each of them.  Exit status 77, and why, where it cannot be had.

set -u -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nexar/rdma
recipe=1 # to be raised when this file comes to make something else

cannot() {
    echo "$1" >&2
    exit 77
}

version() {
    apt-cache show --no-all-versions "$1" 2> /dev/null | sed -n 's/^Version: //p'
}

# What is already there is of use without a network, too.
newest() {
    local folder
    for folder in $(ls -dt "$cache/$recipe-"* 2> /dev/null); do
        if [ -e "$folder/complete" ]; then
            echo "$folder"
            exit 0
        fi
    done
}

[ "$(uname -sm)" = "Linux x86_64" ] || cannot "the virtual machine is made for Linux on x86_64 alone"
for tool in apt-get apt-cache dpkg-deb python3; do
    command -v "$tool" > /dev/null || cannot "the virtual machine is made of Debian packages, and there is no $tool"
done
kernel=$(version linux-image-amd64)
if [ -z "$kernel" ] && [ "$(id -u)" = 0 ]; then # no lists of packages yet
    timeout 60 apt-get update -qq > /dev/null 2>&1
    kernel=$(version linux-image-amd64)
fi
if [ -z "$kernel" ]; then
    newest
    cannot "apt knows no package linux-image-amd64"
fi
image=$cache/$recipe-$kernel-qemu-$(version qemu-system-x86)-verbs-$(version libibverbs1)
image=${image//[:+~]/_}
if [ -e "$image/complete" ]; then
    touch "$image"
    echo "$image"
    exit 0
fi

mkdir -p "$cache" || cannot "$cache cannot be made"
scratch=$(mktemp -d "$cache/making.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/"{debs,image,image/root,kernel}
wanted=(qemu-system-x86 qemu-system-common qemu-system-data seabios busybox-static
    libibverbs1 ibverbs-providers ibverbs-utils iproute2)
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -n 1)
# And the libraries that these need and this system has not; what it has is taken from it.
libraries=$(apt-get -s -qq --no-install-recommends install "${wanted[@]}" 2> /dev/null |
    awk '$1 == "Inst" { print $2 }') || cannot "apt cannot say what QEMU needs"
(cd "$scratch/debs" && timeout 150 apt-get download -qq -o APT::Sandbox::User=root \
    $(printf '%s\n' "$kernel" "${wanted[@]}" $libraries | sort -u) > "$scratch/log" 2>&1) || {
    tail -n 3 "$scratch/log" >&2
    newest
    cannot "the packages of the virtual machine cannot be downloaded"
}

set -e
for package in "$scratch/debs/"*.deb; do
    into=$scratch/image/root
    case ${package##*/} in linux-image-*) into=$scratch/kernel ;; esac
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$into" --keep-directory-symlink \
        --exclude='*/kernel/drivers/gpu' --exclude='*/kernel/sound' --exclude='./usr/share/doc'
done
python3 "$here/kernel.py" "$scratch/kernel" "$scratch/image"
touch "$scratch/image/complete"
mv -T "$scratch/image" "$image" 2> /dev/null || [ -e "$image/complete" ] # or somebody else was as quick
echo "$image"
