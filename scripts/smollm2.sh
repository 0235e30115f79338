#!/bin/bash
# The main job on a real model: SmolLM2-135M-Instruct with LoRA on word problems by people, from the checkpoint to the table in README.md.
#
#     scripts/smollm2.sh MODEL DATA_DIR OUT_DIR
#
# MODEL is the checkpoint's directory; DATA_DIR holds mawps-asdiv-a_svamp_train.csv, of which every eighth question is held out: OUT_DIR/data
# has both parts, and no question is in both. OUT_DIR/sft becomes a short supervised training, OUT_DIR/model what it merges to, and
# OUT_DIR/equal-steps the runs from there, at equal steps. Then OUT_DIR/equal-secs has GRPO and GRPO × α with as many steps as GCPO's
# seconds buy. What is already there is not done again.
#
# GCPO: the program (default: `cargo run` of this repository). SEEDS (default 2) says how many, THREADS (default 2) how many threads a run
# has. SET: further `--set` options, as in SET="--set train.max_steps=100".
set -euo pipefail

if [ $# -ne 3 ]; then
  sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
here="$(cd "$(dirname "$0")" && pwd)"
. "$here/run_once.sh"
mkdir -p "$3/data"
out="$(realpath "$3")"
train="$out/data/train.csv" dev="$out/data/held_out.csv"
awk -v train="$train" -v held="$dev" '
  function question(line) { return line ~ /^"/ ? substr(line, 1, index(line, "\",")) : substr(line, 1, index(line, ",") - 1) }
  NR == 1 { print >train; print >held; next }
  { lines[NR] = $0; if (NR % 8 == 3) is_held[question($0)] = 1 }
  END {
    for (n = 2; n <= NR; n++) {
      key = question(lines[n])
      if (!(key in is_held)) print lines[n] >train
      else if (n % 8 == 3 && !seen[key]++) print lines[n] >held
    }
  }
' "$2/mawps-asdiv-a_svamp_train.csv"
if [ -z "${GCPO:-}" ]; then
  cargo build --manifest-path "$here/../Cargo.toml"
  GCPO="$here/../target/debug/gcpo"
fi
export SEEDS="${SEEDS:-2}" RAYON_NUM_THREADS="${THREADS:-2}"
read -ra set <<<"${SET:-}"

# sweep DIR OBJECTIVES SET…: the runs of some objectives, and their table.
sweep() {
  local dir="$1" configs=() objective
  for objective in $2; do configs+=("$here/../configs/smollm2_$objective.toml"); done
  shift 2
  "$GCPO" sweep "${configs[@]}" --seeds "$SEEDS" --out "$dir" --set model.path="$out/model" --set data.path="$train" \
    --set eval.path="$dev" "${set[@]}" "$@" 2>&1 | tee -a "$dir.log"
}

run "$out/sft" sft "$here/../configs/smollm2_sft.toml" --set model.path="$1" --set data.path="$train"
[ -d "$out/model" ] || "$GCPO" merge --model "$1" --adapter "$(checkpoint "$out/sft")" --out "$out/model"

sweep "$out/equal-steps" "gcpo grpo grpo_alpha"

if grep "are trained on" "$out/equal-steps.log"; then
  echo "the questions of $dev are not held out" >&2
  exit 1
fi

# Steps that GRPO does in the seconds of GCPO, evaluations apart.
steps="$(awk '
  function value(key,   at, rest) {
    at = index($0, "\"" key "\":")
    rest = substr($0, at + length(key) + 3)
    sub(/[,}].*/, "", rest)
    return at ? rest : 0
  }
  { secs[FILENAME ~ /_gcpo,/] += value("time/step_secs"); steps[FILENAME ~ /_gcpo,/] += value("step") > 0 }
  END { printf "%d", (secs[1] / steps[1]) / (secs[0] / steps[0]) * steps[1] / ENVIRON["SEEDS"] + 0.5 }
' "$out"/equal-steps/smollm2_gcpo,*/metrics.jsonl "$out"/equal-steps/smollm2_grpo,*/metrics.jsonl)"
echo "GCPO's seconds buy $steps steps of GRPO" >&2
sweep "$out/equal-secs" "${LONG:-grpo grpo_alpha}" --set train.max_steps="$steps" --set eval.every="$steps"
