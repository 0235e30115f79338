#!/bin/bash
# Do two builds of gcpo give the same results, to the byte?
#
#     scripts/same.sh OLD_BINARY NEW_BINARY          exit 0 where all is the same, 1 at any difference
#
# Trains the quickstart with each objective, on one device and on two; trains on demonstrations; stops a run and resumes
# it; samples, scores, grades and evaluates. Of each it compares what is written: metrics.jsonl without the times,
# samples.jsonl, and every file of the last checkpoint. One line a comparison.
#
#     STEPS=4 scripts/same.sh …       cuts the quickstart short (all of it takes about six minutes otherwise)
#     KEEP=DIR scripts/same.sh …      keeps what was written in DIR
#
# Needs bash, coreutils, cmp and sed.
set -uo pipefail

if [ $# -ne 2 ]; then
  sed -n '2,/^set/p' "$0" | sed -n 's/^# \{0,1\}//p' >&2
  exit 2
fi
old="$(realpath "$1")" new="$(realpath "$2")"
for binary in "$old" "$new"; do
  "$binary" --version >/dev/null || { echo "same.sh: $binary does not run" >&2; exit 2; }
done
configs="$(cd "$(dirname "$0")/.." && pwd)/configs"
steps="${STEPS:-60}"
if [ -n "${KEEP:-}" ]; then
  mkdir -p "$KEEP" && work="$(realpath "$KEEP")"
else
  work="$(mktemp -d)" && trap 'rm -rf "$work"' EXIT
fi
rm -rf "$work/old" "$work/new"
mkdir -p "$work/old" "$work/new"

compared=0 differing=0
same() { compared=$((compared + 1)); printf 'same     %s\n' "$1"; }
differs() { compared=$((compared + 1)); differing=$((differing + 1)); printf 'DIFFERS  %s: %s\n' "$1" "$2"; }

# run NAME ARGS…: runs both builds with the same arguments, each in its own directory; its output is in NAME.out.
# Standard error is kept beside it and not compared, as it holds times.
run() {
  local name="$1" side status=0
  shift
  for side in old new; do
    if ! (cd "$work/$side" && "${!side}" "$@" >"$name.out" 2>"$name.err" </dev/null); then
      differs "$name" "the $side build fails: $(tail -n 1 "$work/$side/$name.err")"
      status=1
    fi
  done
  return $status
}

# untimed FILE: its lines without what is measured in seconds: of metrics.jsonl, and of what `grade` and `eval` print.
untimed() {
  sed -E -e 's/"(time\/[^"]*|secs|tok_per_sec|grades_per_sec)":[^,}]*,?//g' -e 's/,\}/}/g' "$1"
}

# lines NAME A B [empty]: two files of text, times aside. They may be empty only where it is said.
lines() {
  local a b at
  if [ ! -e "$2" ] || [ ! -e "$3" ] || { [ -z "${4:-}" ] && ! [ -s "$2" -a -s "$3" ]; }; then
    differs "$1" "not there or empty: ${2#"$work"/} or ${3#"$work"/}"
    return
  fi
  a="$(mktemp "$work/a.XXXX")" b="$(mktemp "$work/b.XXXX")"
  untimed "$2" >"$a"
  untimed "$3" >"$b"
  if cmp -s "$a" "$b"; then
    same "$1 ($(wc -l <"$a") lines)"
  else
    at="$(cmp "$a" "$b" 2>&1 | sed -nE 's/.*line ([0-9]+).*/\1/p' | head -n 1)"
    differs "$1" "$(first_difference "$a" "$b" "${at:-1}")"
  fi
  rm -f "$a" "$b"
}

# first_difference A B LINE: the line's number, and what stands in both from a little before the first differing byte.
first_difference() {
  local a b at=0
  a="$(sed -n "$3p" "$1")" b="$(sed -n "$3p" "$2")"
  while [ "$at" -lt "${#a}" ] && [ "${a:at:64}" = "${b:at:64}" ]; do at=$((at + 64)); done
  while [ "$at" -lt "${#a}" ] && [ "${a:at:1}" = "${b:at:1}" ]; do at=$((at + 1)); done
  at=$((at > 40 ? at - 40 : 0))
  printf 'line %s: old …%s… new …%s…' "$3" "${a:at:80}" "${b:at:80}"
}

# files NAME A B: every file of two directories, byte for byte.
files() {
  local name="$1" a="$2" b="$3" file found=0
  if [ ! -d "$a" ] || [ ! -d "$b" ]; then
    differs "$name" "no such directory: ${a#"$work"/} or ${b#"$work"/}"
    return
  fi
  for file in $( (cd "$a" && find . -type f; cd "$b" && find . -type f) | sed 's#^\./##' | sort -u); do
    [ -e "$a/$file" ] && [ -e "$b/$file" ] || { differs "$name" "$file is in one only"; return; }
    cmp -s "$a/$file" "$b/$file" || { differs "$name" "$(cmp "$a/$file" "$b/$file" 2>&1 | sed "s#$work/##g")"; return; }
    found=$((found + 1))
  done
  if [ "$found" -eq 0 ]; then differs "$name" "no file"; else same "$name ($found files)"; fi
}

# run_dirs NAME A B STEP: two run directories with their checkpoints of a step.
run_dirs() {
  lines "$1, metrics.jsonl" "$2/metrics.jsonl" "$3/metrics.jsonl"
  lines "$1, samples.jsonl" "$2/samples.jsonl" "$3/samples.jsonl" empty
  files "$1, checkpoint of step $4" "$2/checkpoints/step-$4" "$3/checkpoints/step-$4"
}

one=(--device cpu)
two=(--set 'train.devices=["cpu","cpu"]')

# train NAME STEPS ARGS…: a run of both builds in the directory NAME, compared.
train() {
  local name="$1" last="$2"
  shift 2
  if run "$name" "$@" --set "train.max_steps=$last" --run-dir "$name"; then
    run_dirs "$name" "$work/old/$name" "$work/new/$name" "$last"
  fi
}

for objective in quickstart quickstart_grpo quickstart_grpo_alpha; do
  train "$objective" "$steps" train "$configs/$objective.toml" "${one[@]}" --set "eval.every=$steps"
  train "${objective}_2" "$steps" train "$configs/$objective.toml" "${two[@]}" --set "eval.every=$steps"
done

# A reference model, several updates a step, and the other representation of a text.
more=(--set objective.beta=0.04 --set train.mini_batches=2 --set train.num_iterations=2 --set features.context=in_context
  --set features.similarity=gaussian --set rollout.top_k=12 --set eval.every=0)
train kl_to_reference 4 train "$configs/quickstart.toml" "${one[@]}" "${more[@]}"

sft=(sft "$configs/quickstart_sft.toml" --set data.count=2000 --set eval.every=12 --set eval.size=64)
train sft 12 "${sft[@]}" "${one[@]}"
train sft_2 12 "${sft[@]}" "${two[@]}"

# resumed NAME COMMAND CONFIG: a run of 6 steps, and one of 4 that loses its last checkpoint and goes on from step 2 to 6.
resumed() {
  local name="$1" side args
  args=("$2" "$configs/$3" "${one[@]}" --set eval.every=0 --set checkpoint.every=2 --set train.lr_scheduler_type=constant)
  [ "$2" = sft ] && args+=(--set data.count=2000)
  run "$name-whole" "${args[@]}" --set train.max_steps=6 --run-dir "$name-whole" || return
  run "$name-parts" "${args[@]}" --set train.max_steps=4 --run-dir "$name-parts" || return
  for side in old new; do
    rm -r "$work/$side/$name-parts/checkpoints/step-4"
  done
  cp -r "$work/old/$name-parts" "$work/old/$name-across"
  cp -r "$work/old/$name-parts" "$work/new/$name-across"
  run "$name-parts-2" "${args[@]}" --set train.max_steps=6 --resume "$name-parts" || return
  run_dirs "$name, resumed" "$work/old/$name-parts" "$work/new/$name-parts" 6
  run_dirs "$name, resumed against not stopped" "$work/old/$name-whole" "$work/new/$name-parts" 6
  run "$name-across-2" "${args[@]}" --set train.max_steps=6 --resume "$name-across" || return
  run_dirs "$name, begun by the old build and resumed by each" "$work/old/$name-across" "$work/new/$name-across" 6
}
resumed resume train quickstart.toml
resumed resume_grpo train quickstart_grpo.toml
resumed resume_sft sft quickstart_sft.toml

# What the other commands print, of a checkpoint of the old build's.
for side in old new; do
  ln -sfn "$work/old/resume-whole/checkpoints/step-6" "$work/$side/model"
  cat >"$work/$side/prompts.jsonl" <<'ROWS'
{"prompt": "<q>12+19<a>"}
{"prompt": "<q>55-17<a>"}
{"prompt": "<q>98+77<a>7c"}
ROWS
  cat >"$work/$side/texts.jsonl" <<'ROWS'
{"text": "<q>12+19<a>1c3_#31"}
{"ids": [4, 5, 6, 7, 8, 9]}
{"text": "<q>55-17<a>8b3_#38"}
ROWS
  cat >"$work/$side/cases.jsonl" <<'ROWS'
{"gold": "\\frac{1}{2}", "pred": "so it is \\boxed{0.5}", "equal": true}
{"gold": "[0, 1)", "pred": "\\boxed{0 \\le x < 1}", "equal": true}
{"gold": "7", "pred": "I do not know", "equal": false}
{"gold": "x^2-1", "pred": "$(x-1)(x+1)$", "equal": true}
{"gold": "12", "pred": "13", "equal": true}
ROWS
done
# printed NAME ARGS…: what a command prints.
printed() {
  run "$@" && lines "$1" "$work/old/$1.out" "$work/new/$1.out"
}
printed generate generate --model model --input prompts.jsonl -n 3 --json "${one[@]}"
printed generate_quickstart generate --model quickstart --prompt '<q>9+8<a>' -n 4 --json --set seed=3 --set rollout.top_p=0.9 "${one[@]}"
printed score score --model model --input texts.jsonl --json "${one[@]}"
printed grade grade --gold '\frac12' --pred 'so it is \boxed{0.5}' --json
printed grade_cases grade --cases cases.jsonl --json
printed grade_cases_numbers grade --cases cases.jsonl --numbers --json
printed inspect inspect model --batch 2 --length 64
printed eval eval "$configs/quickstart.toml" --model model --set eval.size=32 --samples 4 --out kept.jsonl --json "${one[@]}" &&
  for side in old new; do
    # The first line holds the whole config, which may gain keys.
    tail -n +2 "$work/$side/kept.jsonl" >"$work/$side/completions.jsonl"
  done && lines "eval, completions kept" "$work/old/completions.jsonl" "$work/new/completions.jsonl"

if [ "$differing" -eq 0 ]; then
  printf '\nall %d comparisons are the same\n' "$compared"
else
  printf '\n%d of %d comparisons differ\n' "$differing" "$compared"
  exit 1
fi
