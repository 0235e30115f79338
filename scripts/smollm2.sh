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
# GCPO: the program (default: `cargo run` of this repository). SEEDS (default "0 1"), JOBS (default 1), THREADS (default 2), SET: as of
# compare_objectives.sh.
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
export GCPO SEEDS="${SEEDS:-0 1}" JOBS="${JOBS:-1}" THREADS="${THREADS:-2}"

run "$out/sft" sft "$here/../configs/smollm2_sft.toml" --set model.path="$1" --set data.path="$train"
[ -d "$out/model" ] || "$GCPO" merge --model "$1" --adapter "$(checkpoint "$out/sft")" --out "$out/model"

"$here/compare_objectives.sh" smollm2 "$out/model" "$train" "$dev" "$out/equal-steps"

if grep -l "are trained on" "$out"/equal-steps/*.log; then
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
  { secs[FILENAME ~ /gcpo-/] += value("time/step_secs"); steps[FILENAME ~ /gcpo-/] += value("step") > 0 }
  END { printf "%d", (secs[1] / steps[1]) / (secs[0] / steps[0]) * steps[1] / split(ENVIRON["SEEDS"], seeds, " ") + 0.5 }
' "$out"/equal-steps/gcpo-*/metrics.jsonl "$out"/equal-steps/grpo-*/metrics.jsonl)"
echo "GCPO's seconds buy $steps steps of GRPO" >&2
OBJECTIVES="${LONG:-grpo grpo_alpha}" SET="${SET:-} --set train.max_steps=$steps --set eval.every=$steps" \
  "$here/compare_objectives.sh" smollm2 "$out/model" "$train" "$dev" "$out/equal-secs"
