#!/bin/bash
# Fuzzes all that reads what a user names (configs, rows, weights, answers, templates) with cargo-fuzz, each target for some seconds (60
# where none are given), two at a time; exits with 1 at the first panic, hang or gigabyte, whose input is then in fuzz/artifacts.
#
#     scripts/fuzz.sh [SECONDS] [TARGET…]
#
# Needs cargo-fuzz (`cargo install --locked cargo-fuzz`) and a C++ compiler, which libFuzzer is written in; no nightly Rust.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds="${1:-60}"
shift || true
targets=("${@:-config jsonl latex safetensors template}")
read -ra targets <<<"${targets[*]}"

# The same versions as the project's.
cp Cargo.lock fuzz/Cargo.lock
cargo fuzz build --dev --sanitizer none

seeds() {
  case "$1" in
    config) echo configs ;;
    safetensors) echo model/tests/fixtures/lenient ;;
    *) echo "fuzz/seeds/$1" ;;
  esac
}

run() {
  # What is found goes to the first directory.
  mkdir -p "fuzz/corpus/$1" "fuzz/artifacts/$1"
  "$binaries/$1" "fuzz/corpus/$1" "$(seeds "$1")" -artifact_prefix="fuzz/artifacts/$1/" -max_total_time="$seconds" \
    -timeout=30 -rss_limit_mb=2048 -malloc_limit_mb=1024 -max_len=8192 -verbosity=0 -print_final_stats=1 >"$log/$1" 2>&1
}

binaries="$(echo fuzz/target/*/debug)"
log="$(mktemp -d)"
trap 'rm -rf "$log"' EXIT
failed=0
while [ ${#targets[@]} -gt 0 ]; do
  pair=("${targets[@]:0:2}")
  targets=("${targets[@]:2}")
  jobs=()
  for target in "${pair[@]}"; do
    run "$target" &
    jobs+=($!)
  done
  for at in "${!pair[@]}"; do
    target="${pair[$at]}"
    if wait "${jobs[$at]}"; then
      printf '%-12s %s inputs, nothing found\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log/$target")"
    else
      failed=1
      printf '%-12s FOUND SOMETHING\n' "$target"
      tail -n 30 "$log/$target"
    fi
  done
done
exit $failed
