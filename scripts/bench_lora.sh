#!/bin/bash
# A GRPO step with LoRA on a real checkpoint, gcpo beside TRL + PEFT in turn on this machine: one prompt, 8 completions of 48 tokens,
# r = 16 on all linear layers, float32, two threads.
#
#     scripts/bench_lora.sh MODEL [ROUNDS]
#
# GCPO: the program (default: target/debug/gcpo). PYTHON: one that has torch, transformers, trl, peft and datasets.
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
here="$(cd "$(dirname "$0")" && pwd)"
gcpo="${GCPO:-$here/../target/debug/gcpo}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export RAYON_NUM_THREADS=2
cat >"$work/lora.toml" <<TOML
[model]
path = "$1"
[model.lora]
r = 16
lora_alpha = 32
target_modules = "all-linear"
[data]
generator = "arithmetic"
count = 64
[prompt]
style = "chat"
answer = "Write a long story about {{ question }}"
[rollout]
num_generations = 8
max_completion_length = 48
[[reward]]
name = "repetition"
[objective]
name = "grpo"
[train]
max_steps = 6
prompts_per_step = 1
learning_rate = 1e-5
TOML
for round in $(seq "${2:-3}"); do
  rm -rf "$work/run"
  "$gcpo" train "$work/lora.toml" --device cpu --run-dir "$work/run" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
  "${PYTHON:-python3}" - "$work/run/metrics.jsonl" <<'PYTHON'
import json, statistics, sys
steps = [json.loads(line) for line in open(sys.argv[1])][1:]
middle = lambda key: round(statistics.median(step[key] for step in steps), 3)
keys = ["time/step_secs", "time/rollout_secs", "time/train_secs", "rollout/tokens", "reward/flat_frac", "rollout/trainer_gap"]
print(json.dumps({"gcpo": {key: middle(key) for key in keys}}))
PYTHON
  "${PYTHON:-python3}" "$here/bench_peer.py" --work lora --model "$1" --repeats 5 2>"$work/log" | grep tok_per_sec || tail -3 "$work/log" >&2
done
