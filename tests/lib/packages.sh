# shellcheck shell=bash
# What the tests need, and how to get it.  Sourced by tests/run.sh.

# command or check, Debian package that brings it
needed() {
    local clang=clang rt=libclang-rt-dev llvm=llvm
    if apt-cache show libclang-rt-14-dev > /dev/null 2>&1; then
        clang=clang-14 rt=libclang-rt-14-dev llvm=llvm-14
    fi
    command -v gcc > /dev/null || echo gcc
    command -v g++ > /dev/null || echo g++
    command -v make > /dev/null || echo make
    command -v ninja > /dev/null || echo ninja-build
    command -v cmake > /dev/null || echo cmake
    command -v pkg-config > /dev/null || echo pkg-config
    command -v cargo > /dev/null || echo cargo
    command -v ip > /dev/null || echo iproute2
    [ -n "$(find_clang)" ] || echo "$clang"
    command -v readelf > /dev/null || echo binutils
    perl -MIPC::Cmd -MFindBin -e1 2> /dev/null || echo perl
    python3 -c 'import ensurepip, venv' 2> /dev/null || echo python3 python3-venv
    has_header cmocka.h || echo libcmocka-dev
    has_header openssl/ssl.h || echo libssl-dev
    has_header infiniband/verbs.h || echo libibverbs-dev
    clang_has_runtime || echo "$rt"
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || echo ca-certificates
    # To run the kernels for ARM; that test is skipped without them.
    if [ "$(uname -m)" != aarch64 ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        command -v aarch64-linux-gnu-gcc > /dev/null || echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross
        command -v qemu-aarch64 > /dev/null || echo qemu-user
    fi
    if [ "$clang" = clang-14 ]; then # the release whose layout the sources have
        command -v clang-format-14 > /dev/null || echo clang-format-14
        command -v llvm-symbolizer-14 > /dev/null || echo "$llvm"
    fi
}

find_clang() {
    command -v clang-14 || command -v clang
}

has_header() {
    printf '#include <stdarg.h>\n#include <stddef.h>\n#include <setjmp.h>\n#include <stdint.h>\n#include <%s>\n' "$1" |
        cc -E -x c - > /dev/null 2>&1
}

clang_has_runtime() {
    local library
    [ -n "$(find_clang)" ] || return 1
    library=$("$(find_clang)" -print-file-name=libclang_rt.fuzzer-x86_64.a)
    [ -e "$library" ] || [ -e "${library/-x86_64/}" ] || [ "$(uname -m)" != x86_64 ]
}

# Installs what is missing, or says so and fails.
install_packages() {
    local missing
    missing=$(needed | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    if ! command -v apt-get > /dev/null; then
        echo "tests/run.sh needs what these packages bring (their names on Debian): $missing" >&2
        return 1
    elif [ "$(id -u)" != 0 ]; then
        echo "tests/run.sh needs packages; as root:  apt-get install $missing" >&2
        return 1
    fi
    echo "== installing $missing"
    export DEBIAN_FRONTEND=noninteractive
    # Asked again, since the name of clang's package is known only when there is a list of packages.
    # shellcheck disable=SC2046
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $(needed) > /dev/null || return 1
    missing=$(needed | tr '\n' ' ')
    if [ -n "$missing" ]; then
        echo "still missing after installation: $missing" >&2
        return 1
    fi
}
