#!/usr/bin/env bash
# Runs the checks of guest/checks.sh in a virtual machine; says for each PASS or FAIL, and what a failed one printed.
# Exit status 0 if all passed, 77 (and why) where there can be no such machine.

usage() {
    cat <<'TEXT'
usage: run.sh BUILD [OUT [CHECK...]]

  BUILD   build folder of the project, with tests
  OUT     what the checks and the kernel print goes there (default: BUILD/rdma)
  CHECK   only these (default: all that BUILD can run)

NX_RDMA_ACCEL=kvm or tcg chooses how the machine is run.
TEXT
}

set -u -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 1 ] && [ -d "$1" ] || {
    usage >&2
    exit 2
}
build=$(cd "$1" && pwd)
out=${2:-$build/rdma}
shift $(($# < 2 ? $# : 2))
for program in rdma_rank rdma_contract libnexar.so.0; do
    [ -e "$build/$program" ] || {
        echo "$build has no $program" >&2
        exit 2
    }
done
image=$(bash "$here/build.sh") || exit
mkdir -p "$out"
scratch=$(mktemp -d "$out/guest.XXXXXX")
machine=
clean_up() {
    [ -z "$machine" ] || kill "$machine" 2> /dev/null
    rm -rf "$scratch" "$scratch.img"
}
trap clean_up EXIT
libraries=$image/root/usr/lib/x86_64-linux-gnu:$image/root/lib/x86_64-linux-gnu

# ---- the guest's file system, which is all in the initramfs ----

# put PROGRAM-OR-LIBRARY FOLDER: with the libraries that it needs.
put() {
    local needed
    mkdir -p "$scratch/$2"
    cp -L "$1" "$scratch/$2/"
    LD_LIBRARY_PATH=$libraries ldd "$1" 2> /dev/null | sed -n -E 's/^.* => (\/[^ ]+) .*/\1/p; s/^\t(\/[^ ]+) .*/\1/p' |
        while read -r needed; do
            case $needed in
                */ld-linux*) mkdir -p "$scratch/lib64" && cp -L -n "$needed" "$scratch/lib64/" ;;
                */libnexar*) ;;
                *) cp -L -n "$needed" "$scratch/lib/" ;;
            esac
        done
}

fill() {
    local file
    mkdir -p "$scratch"/{bin,dev,etc,lib,modules,nexar,proc,sys,tmp,run}
    cp "$image/root"/*bin/busybox "$scratch/bin/" 2> /dev/null || cp "$image/root"/usr/*bin/busybox "$scratch/bin/"
    for file in ip tc rdma ibv_rc_pingpong ibv_devinfo; do
        put "$(find "$image/root" -name "$file" -path '*bin/*' | head -n 1)" tools
    done
    for file in "$image/root"/{,usr/}lib/x86_64-linux-gnu/libibverbs.so.1 \
        "$image/root"/{,usr/}lib/x86_64-linux-gnu/libibverbs/librxe-rdmav*.so; do
        [ -e "$file" ] || continue
        case $file in
            */librxe*) put "$file" usr/lib/x86_64-linux-gnu/libibverbs ;; # where libibverbs looks for it
            *) put "$file" lib ;;
        esac
    done
    mkdir -p "$scratch/etc/libibverbs.d"
    echo "127.0.0.1 localhost" > "$scratch/etc/hosts"
    echo "driver rxe" > "$scratch/etc/libibverbs.d/rxe.driver"
    for file in rdma_rank rdma_contract libnexar.so.0 libnexar_rdma.so; do
        [ -e "$build/$file" ] && put "$build/$file" nexar && strip --strip-debug "$scratch/nexar/$file"
    done
    cp "$image/modules/"* "$scratch/modules/"
    cp "$here/guest/"* "$scratch/nexar/"
    chmod +x "$scratch/nexar/init.sh"
    ln -s nexar/init.sh "$scratch/init"
    printf '%s\n' "$@" > "$scratch/nexar/wanted"
    (cd "$scratch" && find . | bin/busybox cpio -o -H newc 2> /dev/null) > "$scratch.img"
}

# ---- the machine ----

accelerator() {
    if [ -n "${NX_RDMA_ACCEL:-}" ]; then
        echo "$NX_RDMA_ACCEL"
    elif [ -w /dev/kvm ] && grep -q -E '^flags.*\b(vmx|svm)\b' /proc/cpuinfo; then
        echo kvm
    else
        echo tcg
    fi
}

# boot ACCELERATOR SECONDS: the second serial port is where the checks speak.
boot() {
    local accel=(-accel tcg,thread=multi,tb-size=512 -cpu max)
    [ "$1" = tcg ] || accel=(-accel kvm -cpu host)
    : > "$out/checks.log"
    LD_LIBRARY_PATH=$libraries timeout -k 5 "$2" "$image/root/usr/bin/qemu-system-x86_64" \
        -L "$image/root/usr/share/qemu" -L "$image/root/usr/share/seabios" -nodefaults -no-user-config -display none \
        -no-reboot -machine q35,usb=off,vmport=off "${accel[@]}" -smp 2 -m 2G -kernel "$image/vmlinux" \
        -initrd "$scratch.img" -serial "file:$out/console.log" -serial "file:$out/checks.log" \
        -append "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr random.trust_cpu=on rdinit=/init" \
        < /dev/null > "$out/qemu.log" 2>&1 &
    machine=$!
    watch_boot
    wait "$machine"
    machine=
}

# A machine that has not come up in a minute never will.
watch_boot() {
    local began=$SECONDS
    while kill -0 "$machine" 2> /dev/null && ! grep -q '^UP' "$out/checks.log"; do
        if [ $((SECONDS - began)) -gt 60 ]; then
            kill "$machine"
            return
        fi
        sleep 0.1 # between two looks
    done
}

# One for each check, as ctest and pytest report theirs.
write_xml() {
    awk 'BEGIN { print "<testsuite name=\"rdma\">" }
        /^PASS / { printf "<testcase name=\"%s\"/>\n", $2 }
        /^FAIL / { printf "<testcase name=\"%s\"><failure/></testcase>\n", $2 }
        /^SKIP / {
            printf "<testcase name=\"%s\"><skipped message=\"", $2
            sub(/^SKIP [^ ]* /, "")
            printf "%s\"/></testcase>\n", $0
        }
        END { print "</testsuite>" }' "$out/checks.log" > "$out/checks.xml"
}

report() {
    write_xml
    grep -E '^(PASS|FAIL|SKIP) ' "$out/checks.log"
    awk '/^BEGIN /{ n = 0 } { line[n++] = $0 }
        /^FAIL /{ print ""; for (i = n > 60 ? n - 60 : 0; i < n; i++) print line[i] }' "$out/checks.log"
}

fill "$@"
accel=$(accelerator)
began=$SECONDS
boot "$accel" 300
if ! grep -q '^UP' "$out/checks.log"; then
    echo "the virtual machine ($accel) did not come up in $((SECONDS - began)) s: $(tail -n 1 "$out/qemu.log")"
    accel=tcg
    boot "$accel" 300
fi
report
if ! grep -q '^DONE' "$out/checks.log"; then
    echo "the virtual machine ($accel) ended before its checks did, after $((SECONDS - began)) s:"
    tail -n 30 "$out/qemu.log" "$out/console.log" "$out/checks.log"
    exit 1
fi
echo "$(grep -c '^PASS ' "$out/checks.log") checks passed, $(grep -c '^FAIL ' "$out/checks.log") failed," \
    "$(grep -c '^SKIP ' "$out/checks.log") skipped in $((SECONDS - began)) s ($accel)"
! grep -q '^FAIL ' "$out/checks.log"
