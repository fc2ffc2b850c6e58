# shellcheck shell=bash disable=SC2034,SC2154
# The stages of tests/run.sh.  A stage is a function stage_<name> that runs with `set -e` in a shell of its own; it
# fails by its exit status, or is skipped by calling `skip REASON`.  $root is the repository, $work the scratch folder.

all_stages=(gcc rdma asan tsan wheel lint pytest readme system)
fast_stages=(gcc wheel lint pytest readme)

cores=$(nproc)
ctest_only=() # options that choose tests

git_status() {
    git -C "$root" status --porcelain 2> /dev/null || true
}

skip() {
    echo "$1" > "$work/results/$stage.skipped"
    exit 77
}

run_stage() {
    local began=$SECONDS status result
    stage=$1
    echo
    echo "== $stage"
    (
        set -e
        "stage_$stage"
    )
    status=$?
    case $status in
        0) result=passed ;;
        77) result=skipped ;;
        *) result=failed ;;
    esac
    echo "== $stage: $result after $((SECONDS - began)) s"
    echo "$stage $result $((SECONDS - began))" >> "$work/results/stages"
}

# quietly LOG COMMAND...: shows what the command printed only if it fails.
quietly() {
    local log=$1
    shift
    "$@" > "$log" 2>&1 || {
        tail -n 100 "$log"
        return 1
    }
}

# configure_and_test NAME CTEST-PREFIX... -- CMAKE-ARGUMENTS...
configure_and_test() {
    local name=$1 prefix=() build
    shift
    while [ "$1" != -- ]; do
        prefix+=("$1")
        shift
    done
    shift
    build=$work/$name
    quietly "$build-configure.log" cmake -S "$root" -B "$build" -G Ninja "$@"
    quietly "$build-build.log" cmake --build "$build" --parallel "$cores"
    "${prefix[@]}" ctest --test-dir "$build" --parallel "$cores" "${ctest_only[@]}" --output-on-failure \
        --no-tests=error --output-junit "$work/results/$name.xml" --test-output-size-passed 1000000
}

# The library as it is built for users, and every ctest.
stage_gcc() {
    configure_and_test gcc env -- -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo
}

# Ranks on hosts of their own over real RDMA verbs, and over networks that lose packets: in a virtual machine.
stage_rdma() {
    local status=0 why=$work/rdma-why
    if [ ! -e "$work/gcc/rdma_rank" ]; then
        quietly "$work/gcc-configure.log" cmake -S "$root" -B "$work/gcc" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo
        quietly "$work/gcc-build.log" cmake --build "$work/gcc" --parallel "$cores"
    fi
    bash "$root/tests/rdma/run.sh" "$work/gcc" "$work/rdma" 2> "$why" || status=$?
    [ "$status" != 77 ] || skip "$(tail -n 1 "$why")"
    cat "$why" >&2
    cp "$work/rdma/checks.xml" "$work/results/rdma.xml"
    return "$status"
}

# clang's warnings, AddressSanitizer (MsQuic under it, too), UndefinedBehaviorSanitizer, libFuzzer.
stage_asan() {
    # Pure and long, or not of this build at all; the gcc stage runs them.
    local ctest_only=(--label-exclude '^rules$' --exclude-regex '^(test_sched_mutations|test_mutations|neon)$')
    export ASAN_SYMBOLIZER_PATH
    ASAN_SYMBOLIZER_PATH=$(command -v llvm-symbolizer-14 || command -v llvm-symbolizer || true)
    configure_and_test asan env -- "-DCMAKE_C_COMPILER=$(find_clang)" -DCMAKE_BUILD_TYPE=Debug \
        -DNEXAR_SANITIZE=address,undefined -DNEXAR_FUZZ=ON
    if [ -n "$NX_TEST_FULL" ]; then
        local target
        for target in "$work"/asan/fuzz_*; do
            [ -x "$target" ] || continue
            "$target" -max_total_time=300 "$work/asan/fuzz/${target##*/fuzz_}" \
                "$root/tests/fuzz/corpus/${target##*/fuzz_}"
        done
    fi
}

# ThreadSanitizer, with MsQuic and OpenSSL under it.
stage_tsan() {
    local prefix=(env) probe=$work/tsan-probe
    # Those of one thread have nothing for it to find.
    local ctest_only=(--label-exclude '^(sched|simnet|vectors|rules)$'
        --exclude-regex '^(test_mutations|test_reduce|test_compress|neon)$')
    echo 'int main(void) { return 0; }' | gcc -fsanitize=thread -x c - -o "$probe"
    if ! "$probe" 2> /dev/null; then # it knows only some layouts of memory, and random addresses may give another
        prefix=(setarch "$(uname -m)" -R)
        "${prefix[@]}" "$probe" || skip "ThreadSanitizer does not start here, not even without random addresses"
    fi
    configure_and_test tsan "${prefix[@]}" -- -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Debug -DNEXAR_SANITIZE=thread
}

# The first README command's first half, into an environment of its own.
stage_wheel() {
    rm -rf "$work/venv"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --disable-pip-version-check --quiet "${root}[dev]"
    "$work/venv/bin/nexar" info > /dev/null
}

stage_lint() {
    "$work/venv/bin/ruff" check --cache-dir "$work/ruff" "$root/pynexar" "$root/tests" "$root/libnexar/tools" \
        "$root/bench"
    "$work/venv/bin/mypy" --cache-dir "$work/mypy"
    "$work/venv/bin/mypy" --cache-dir "$work/mypy" "$root"/bench/py/*.py
}

# From another folder than the repository's, so that the installed package is tested and not the sources.
stage_pytest() {
    local folder folders=()
    for folder in "$root/tests/py" "$root/tests/jobs"; do
        if [ -n "$(find "$folder" -name 'test_*.py' 2> /dev/null)" ]; then
            folders+=("$folder")
        fi
    done
    export NX_TEST_BENCH=$work/gcc
    export HYPOTHESIS_STORAGE_DIRECTORY=$work/hypothesis PYTHONDONTWRITEBYTECODE=1 PATH=$work/venv/bin:$PATH
    cd "$work"
    pytest -c "$root/pyproject.toml" --rootdir "$root" -o "cache_dir=$work/pytest" \
        --junitxml "$work/results/pytest.xml" "${folders[@]}"
}

# The second half of the first README command, as it stands there: in the repository.
stage_readme() {
    PATH=$work/venv/bin:$PATH nexar run -n 4 -m pynexar.examples.all_reduce
}

# MsQuic and OpenSSL as a distribution ships them: no package of Debian has MsQuic, so the same sources stand in for it.
stage_system() {
    local installed=$work/system-msquic manifest source
    if [ ! -e "$installed/lib/libmsquic.so.2" ]; then
        rm -rf "$work/system-fetch"
        cp -r "$root/libnexar/third_party/msquic" "$work/system-fetch"
        manifest=$(cd "$work/system-fetch" && cargo metadata --format-version 1 | python3 -c '
import json, sys
print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "msquic"))')
        source=$(dirname "$manifest")
        quietly "$work/system-msquic.log" \
            cmake -S "$source" -B "$work/system-build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DQUIC_TLS_LIB=quictls \
            -DQUIC_BUILD_SHARED=ON -DNUMA=OFF "-DCMAKE_INSTALL_PREFIX=$installed"
        quietly "$work/system-msquic.log" cmake --build "$work/system-build" --parallel "$cores" --target install
    fi
    local ctest_only=(--label-exclude '^(sched|simnet|vectors|fuzz|rules)$') # MsQuic is nothing to them
    export LD_LIBRARY_PATH=$installed/lib CMAKE_PREFIX_PATH=$installed
    configure_and_test system env -- -DCMAKE_C_COMPILER=gcc -DNEXAR_MSQUIC=system
}
