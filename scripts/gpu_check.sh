#!/bin/bash
# Everything that is to be known of gcpo on one GPU, in one call of under ten minutes: do its numbers come out right, does
# the quickstart learn, how fast is it beside torch on the same card. Prints one table (Markdown) and keeps all output.
#
#   scripts/gpu_check.sh BINARY [DEVICE [OUT]]       DEVICE: cuda (default), vulkan, wgpu, cpu; OUT: a folder, gpu_check/
#
# BINARY is `gcpo` built with the device's feature: `cargo build --features cuda`, target/debug/gcpo. To carry it to
# another machine: `strip gcpo; xz -T0 gcpo` makes 22 MiB of it; a name that ends in .xz is unpacked here.
# The peer needs python3 with torch and transformers, TRL for its step; what is not there is left out and said so.
# SMALL=1 tries every step with the smallest shapes (for a processor). LIMIT is the seconds of all (540).
set -uo pipefail

binary=${1:?give the gcpo binary}
device=${2:-cuda}
out=${3:-gpu_check}
here="$(cd "$(dirname "$0")" && pwd)"
limit=${LIMIT:-540}
mkdir -p "$out"
case "$binary" in
*.xz) xz -dc "$binary" >"$out/gcpo" && chmod +x "$out/gcpo" && binary="$out/gcpo" ;;
*) binary="$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary")" ;;
esac

# step NAME SECONDS COMMAND…: output in OUT/NAME.txt, its end on a failure; nothing runs past the whole's limit.
step() {
  local name=$1 most=$2 left=$((limit - SECONDS))
  shift 2
  if [ "$left" -lt 10 ]; then
    echo "== $name: no time left" | tee "$out/$name.txt" >&2
    return 1
  fi
  [ "$most" -gt "$left" ] && most=$left
  printf '== %s (at %d s)\n' "$name" "$SECONDS" >&2
  timeout "$most" "$@" >"$out/$name.txt" 2>"$out/$name.err"
  local code=$?
  [ $code -eq 0 ] || { echo "   failed ($code)" >&2; tail -n 3 "$out/$name.err" >&2; }
  return $code
}

case "$device" in cpu*) half=bfloat16 peer=cpu ;; cuda*) half=bfloat16 peer=cuda ;; *) half=float16 peer=cuda ;; esac
if [ -n "${SMALL:-}" ]; then
  large=tiny repeats=2 steps=2 long=tiny length=2048
  logp="--rows 1 --length 256 --vocab 32000 --hidden 64"
else
  large=0.5b repeats=5 steps=60 long=135m length=16384
  logp="--rows 4 --length 2048 --vocab 151936 --hidden 896"
fi

step devices 60 "$binary" devices
cat "$out/devices.txt"
for dtype in float32 $half; do
  step "check_$dtype" 120 "$binary" check --device "$device" --dtype "$dtype"
  cat "$out/check_$dtype.txt"
done
step quickstart 150 "$binary" --device "$device" --set train.max_steps=$steps --run-dir "$out/run" || true
tail -n 12 "$out/quickstart.txt"

bench() { step "$1" 120 "$binary" bench --device "$device" --json --repeats $repeats "${@:2}"; }
bench small_decode --shape small --work decode
bench small_train --shape small --work train
bench large_decode --shape $large --work decode --dtype $half
bench large_train --shape $large --work train --dtype $half
# What would not fit if it were kept: logits, [T, T] scores, the insides of layers.
bench logp --shape tiny --work logp $logp --dtype $half
bench long_train --shape $long --work train --rows 1 --length $length --checkpointing --dtype $half

peers() {
  step "peer_$1" 120 python3 "$here/bench_peer.py" --device $peer --repeats $repeats --shape "$2" --work "$3" --dtype "$4"
}
if python3 -c 'import torch, transformers' 2>/dev/null; then
  peers small_decode small decode float32
  peers small_train small train float32
  peers large_decode $large decode $half
  peers large_train $large train $half
  for dtype in float32 $half; do
    step "limits_$dtype" 60 python3 "$here/bench_peer.py" --device $peer --repeats $repeats --work limits --dtype "$dtype"
  done
  if python3 -c 'import trl, datasets' 2>/dev/null; then
    bench small_step --shape small --work step --objective grpo --group 8
    peers small_step small step float32
  else
    echo "left out: TRL's step (no trl here)"
  fi
else
  echo "left out: the peer (no torch and transformers here)"
fi

python3 "$here/gpu_table.py" "$out"
echo "all output is in $out; $SECONDS s"
