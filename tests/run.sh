#!/usr/bin/env bash
# Builds everything and runs every test; says at the end what ran, what was skipped and why.
# Exit status 0 only if nothing failed.  Stages are functions in tests/lib/stages.sh.

usage() {
    cat <<'TEXT'
usage: bash tests/run.sh [--fast | --full] [--list] [STAGE...]

  --fast   only the stages gcc, wheel, lint, pytest, readme
  --full   as without, but fuzzing and tests that have a long form take it
  --list   names the stages and ends
  STAGE    only these

On Debian and Ubuntu as root, missing packages are installed; elsewhere the command says which are missing.
Everything it makes is in build-tests/ (NX_TEST_BUILD names another folder).
TEXT
}

set -u -o pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=${NX_TEST_BUILD:-$root/build-tests}
. "$root/tests/lib/packages.sh"
. "$root/tests/lib/stages.sh"

stages=()
export NX_TEST_FULL=
for word in "$@"; do
    case $word in
        --fast) stages=("${fast_stages[@]}") ;;
        --full) NX_TEST_FULL=1 ;;
        --list) echo "${all_stages[*]}"; exit 0 ;;
        --help | -h) usage; exit 0 ;;
        *)
            if [[ " ${all_stages[*]} " != *" $word "* ]]; then
                echo "there is no stage $word" >&2
                usage >&2
                exit 2
            fi
            stages+=("$word")
            ;;
    esac
done
[ ${#stages[@]} -gt 0 ] || stages=("${all_stages[@]}")

cd "$root" || exit 2
install_packages || exit 2
mkdir -p "$work"
rm -rf "$work/results"
mkdir "$work/results"
tree_before=$(git_status)
began=$SECONDS
for stage in "${stages[@]}"; do
    run_stage "$stage"
done
if [ "$(git_status)" != "$tree_before" ]; then
    echo "the tests left files in the source tree:"
    git_status
    echo "clean-tree failed 0" >> "$work/results/stages"
fi
python3 "$root/tests/lib/summary.py" "$work/results" $((SECONDS - began))
