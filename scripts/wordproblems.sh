#!/bin/bash
# The main job on real word problems, from random weights to the table in docs/measured.md:
#
#     scripts/wordproblems.sh DATA_DIR OUT_DIR [GSM8K.jsonl]
#
# DATA_DIR holds mawps-asdiv-a_svamp_train.csv and mawps-asdiv-a_svamp_dev.csv. OUT_DIR/sft and OUT_DIR/sft-expressions
# become the two parts of supervised training, OUT_DIR/rl the runs that start from there. What is already
# there is not done again. With GSM8K's test file, the first run's model is evaluated on it as well.
#
# GCPO: the program (default: `cargo run` of this repository). SEEDS (default 3) says how many, OBJECTIVES (default
# "gcpo grpo grpo_alpha") which configs. SET: further `--set` options for the runs of reinforcement learning, as in
# SET="--set train.max_steps=100".
set -euo pipefail

if [ $# -lt 2 ] || [ $# -gt 3 ]; then
  sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
data="$(realpath "$1")"
mkdir -p "$2"
out="$(realpath "$2")"
configs="$(cd "$(dirname "$0")/../configs" && pwd)"
train="$data/mawps-asdiv-a_svamp_train.csv"
dev="$data/mawps-asdiv-a_svamp_dev.csv"
for file in "$train" "$dev"; do
  [ -f "$file" ] || { echo "$file: no such file; give the directory that holds it" >&2; exit 1; }
done
if [ -z "${GCPO:-}" ]; then
  cargo build --manifest-path "$configs/../Cargo.toml"
  GCPO="$configs/../target/debug/gcpo"
fi
. "$(dirname "$0")/run_once.sh"

run "$out/sft" sft "$configs/wordproblems_sft.toml" --set data.path="$train"
run "$out/sft-expressions" sft "$configs/wordproblems_sft_expressions.toml" --set data.path="$train" \
  --set model.path="$(checkpoint "$out/sft")"
model="$(checkpoint "$out/sft-expressions")"

objectives=()
for objective in ${OBJECTIVES:-gcpo grpo grpo_alpha}; do objectives+=("$configs/wordproblems_$objective.toml"); done
read -ra set <<<"${SET:-}"
"$GCPO" sweep "${objectives[@]}" --seeds "${SEEDS:-3}" --out "$out/rl" --set model.path="$model" --set data.path="$train" \
  --set eval.path="$dev" "${set[@]}"

if [ $# -eq 3 ]; then
  first="$(basename "${objectives[0]}" .toml)"
  last="$(find "$out/rl/$first,seed=0/checkpoints" -maxdepth 1 -name 'step-*' | sort -V | tail -n 1)"
  "$GCPO" eval --model "$last" --data "$3" --preset gsm8k --set grader.kind=numbers --set grader.expressions=true \
    --set rollout.max_completion_length=24 2>"$out/gsm8k.log" | tee "$out/gsm8k.txt"
fi
