# To be sourced: runs that are not done again. GCPO names the program.

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
