#!/bin/bash
# The main job on real word problems, from random weights to the table in docs/measured.md:
#
#     scripts/wordproblems.sh DATA_DIR OUT_DIR [GSM8K.jsonl]
#
# DATA_DIR holds mawps-asdiv-a_svamp_train.csv and mawps-asdiv-a_svamp_dev.csv. OUT_DIR/sft and OUT_DIR/sft-expressions
# become the two parts of supervised training, OUT_DIR/OBJECTIVE-SEED the runs that start from there. What is already
# there is not done again. With GSM8K's test file, the first run's model is evaluated on it as well.
#
# GCPO: the program (default: `cargo run` of this repository). SEEDS (default "0 1 2"), OBJECTIVES (default
# "gcpo grpo grpo_alpha"). JOBS runs go at a time (default 2), each with THREADS threads (default 1). SET: further
# `--set` options for the runs of reinforcement learning, as in SET="--set train.max_steps=100".
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
read -ra seeds <<<"${SEEDS:-0 1 2}"
read -ra objectives <<<"${OBJECTIVES:-gcpo grpo grpo_alpha}"
read -ra set <<<"${SET:-}"

# The last checkpoint of a run that has ended; nothing for one that has not.
checkpoint() {
  [ -f "$1/secs" ] && find "$1/checkpoints" -maxdepth 1 -name 'step-*' | sort -V | tail -n 1
}

# A run in the directory $1, which is written anew unless the run in it has ended; the rest is its command.
run() {
  local dir="$1" began=$SECONDS
  shift
  [ -f "$dir/secs" ] && return
  rm -rf "$dir"
  "$GCPO" "$@" --run-dir "$dir" >"$dir.log" 2>&1 || { echo "failed: see $dir.log" >&2; return 1; }
  echo $((SECONDS - began)) >"$dir/secs"
  echo "$(basename "$dir"): $((SECONDS - began)) s" >&2
}

run "$out/sft" sft "$configs/wordproblems_sft.toml" --set data.path="$train"
run "$out/sft-expressions" sft "$configs/wordproblems_sft_expressions.toml" --set data.path="$train" \
  --set model.path="$(checkpoint "$out/sft")"
model="$(checkpoint "$out/sft-expressions")"

export RAYON_NUM_THREADS="${THREADS:-1}"
for seed in "${seeds[@]}"; do
  for objective in "${objectives[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-2}" ]; do wait -n; done
    run "$out/$objective-$seed" train "$configs/wordproblems_$objective.toml" --set model.path="$model" \
      --set data.path="$train" --set eval.path="$dev" --set seed="$seed" "${set[@]}" &
  done
done
while [ -n "$(jobs -rp)" ]; do wait -n; done

# One line a run: objective, seed, then before and after of each metric, Υ's mean and spread over the steps, seconds.
for objective in "${objectives[@]}"; do
  for seed in "${seeds[@]}"; do
    dir="$out/$objective-$seed"
    awk -v objective="$objective" -v seed="$seed" -v secs="$(cat "$dir/secs")" '
      function value(key,   at, rest) {
        at = index($0, "\"" key "\":")
        if (!at) return ""
        rest = substr($0, at + length(key) + 3)
        sub(/[,}].*/, "", rest)
        return rest
      }
      value("eval/pass@1") != "" {
        answer = value("eval/pass@1"); candidate = value("eval/candidates_pass@1"); integrated = value("eval/integrated_pass@1")
        if (!seen++) first = answer " " candidate " " integrated
      }
      value("projection/upsilon_mean") != "" { n++; mean += value("projection/upsilon_mean"); std += value("projection/upsilon_std") }
      END { print objective, seed, first, answer, candidate, integrated, n ? mean / n : "-", n ? std / n : "-", secs }
    ' "$dir/metrics.jsonl"
  done
done >"$out/runs.txt"

awk '
  function spread(sum, squares, n) { return n > 1 ? sqrt((squares - sum * sum / n) / (n - 1) > 0 ? (squares - sum * sum / n) / (n - 1) : 0) : 0 }
  {
    if (!($1 in count)) order[++kinds] = $1
    count[$1]++
    for (k = 3; k <= 8; k++) { sum[$1, k] += $k; squares[$1, k] += $k * $k }
    sum[$1, "gain"] += $6 - $3; squares[$1, "gain"] += ($6 - $3) ^ 2
    secs[$1] += $11
    line[NR] = sprintf("| %s, seed %s | %.3f | %.3f | %+.3f | %.3f / %.3f | %.3f / %.3f | %s | %d |", $1, $2, $3, $6, $6 - $3, $4, $5, $7, $8, $9 == "-" ? "-" : sprintf("%.2f ± %.2f", $9, $10), $11)
  }
  END {
    print "| run | pass@1 before | after | gain | candidates / integrated before | candidates / integrated after | Υ | s |"
    print "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for (i = 1; i <= NR; i++) print line[i]
    for (i = 1; i <= kinds; i++) {
      o = order[i]; n = count[o]
      printf "| **%s**, mean ± std | %.3f ± %.3f | %.3f ± %.3f | %+.3f ± %.3f | %.3f / %.3f | %.3f / %.3f | | %.0f |\n", o,
        sum[o, 3] / n, spread(sum[o, 3], squares[o, 3], n), sum[o, 6] / n, spread(sum[o, 6], squares[o, 6], n),
        sum[o, "gain"] / n, spread(sum[o, "gain"], squares[o, "gain"], n),
        sum[o, 4] / n, sum[o, 5] / n, sum[o, 7] / n, sum[o, 8] / n, secs[o] / n
    }
  }
' "$out/runs.txt" | tee "$out/table.md"

if [ $# -eq 3 ]; then
  "$GCPO" eval --model "$(checkpoint "$out/${objectives[0]}-${seeds[0]}")" --data "$3" --preset gsm8k \
    --set grader.kind=numbers --set grader.expressions=true --set rollout.max_completion_length=24 2>"$out/gsm8k.log" | tee "$out/gsm8k.txt"
fi
