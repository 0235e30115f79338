#!/bin/bash
# Objectives beside each other from one model, and a table of what came out:
#
#     scripts/compare_objectives.sh CONFIGS MODEL TRAIN EVAL OUT_DIR
#
# CONFIGS: what the names of the configs begin with, configs/CONFIGS_OBJECTIVE.toml. OUT_DIR/OBJECTIVE-SEED become the runs; one that
# has ended is not done again.
#
# GCPO: the program (default: target/debug/gcpo). SEEDS (default "0 1 2"), OBJECTIVES (default "gcpo grpo grpo_alpha"). JOBS runs go
# at a time (default 2), each with THREADS threads (default 1). SET: further `--set` options, as in SET="--set train.max_steps=100".
set -euo pipefail

if [ $# -ne 5 ]; then
  sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
configs="$(cd "$(dirname "$0")/../configs" && pwd)"
GCPO="${GCPO:-$configs/../target/debug/gcpo}"
name="$1" model="$2" train="$3" dev="$4" out="$5"
mkdir -p "$out"
read -ra seeds <<<"${SEEDS:-0 1 2}"
read -ra objectives <<<"${OBJECTIVES:-gcpo grpo grpo_alpha}"
read -ra set <<<"${SET:-}"

. "$(dirname "$0")/run_once.sh"

export RAYON_NUM_THREADS="${THREADS:-1}"
for seed in "${seeds[@]}"; do
  for objective in "${objectives[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-2}" ]; do wait -n; done
    run "$out/$objective-$seed" train "$configs/${name}_$objective.toml" --set model.path="$model" \
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
        # Not measured where eval.integrated is off.
        if (candidate == "") candidate = integrated = "-"
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
