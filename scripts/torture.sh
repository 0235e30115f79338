#!/bin/bash
# Kills runs, fills disks, flips bits and spoils inputs at random for some minutes (10 where none are given), prints how many, and exits
# with 1 at the first loss, silent difference, panic or hang.
#
#     scripts/torture.sh [MINUTES]
#
# GCPO_TORTURE_SEED=N repeats a run by the seed that it printed, GCPO_TORTURE=kills,flips does only some. Full disks need root, which
# may mount a file system in memory; they are skipped, and said so, where that is not so.
set -euo pipefail
cd "$(dirname "$0")/.."

GCPO_TORTURE_MINUTES="${1:-10}" cargo test --test torture -- --nocapture
