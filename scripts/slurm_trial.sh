#!/bin/bash
# Slurm, really run: a cluster of two machines on this one, on which scripts/gcpo.sbatch is tried, and everything that can happen to a job.
# The machines are network namespaces (scripts/hosts.sh) with a slurmd each. What it makes is gone when it ends.
#
#     apt-get install slurmctld slurmd slurm-client munge openmpi-bin       (Debian 12: Slurm 22.05, OpenMPI 4.1, PMIx 4.2)
#     sudo scripts/slurm_trial.sh GCPO [TRIAL…]                            GCPO: a binary with the feature mpi, for instance target/debug/gcpo
#
# Trials, all where none is named: formed apart killed hangs cut time requeue stopped. `cluster` waits with the cluster up until Enter.
# About eight minutes on one core, most of them for Slurm's clocks, which count in minutes.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
gcpo="$(realpath "${1:?a gcpo with the feature mpi}")"
shift
[[ $# -gt 0 ]] || set -- formed apart killed hangs cut time requeue stopped
for tool in slurmctld slurmd sbatch munged mpirun ip nsenter; do
  command -v "$tool" >/dev/null || { echo "slurm_trial.sh: there is no $tool here" >&2; exit 2; }
done
[[ "$(id -u)" == 0 ]] || { echo "slurm_trial.sh: it needs root" >&2; exit 2; }

dir="$(mktemp -d /tmp/gcpo-slurm.XXXXXX)"
export SLURM_CONF="$dir/slurm.conf" PATH="$dir/bin:$PATH"

down() {
  local code=$? pid
  set +e
  scancel --user=root 2>/dev/null
  for pid in "$dir"/*.pid; do kill "$(cat "$pid")"; done 2>/dev/null
  sleep 2
  # What a machine that was cut off still has.
  for pid in $(ip netns pids gcpo1; ip netns pids gcpo2); do kill -9 "$pid"; done 2>/dev/null
  "$here/hosts.sh" down
  if [[ "$code" != 0 ]]; then
    echo "failed; what Slurm said of it:"
    tail -n 20 "$dir"/*.log
  fi
  rm -rf "$dir"
  exit "$code"
}

# Ranks of a job here, by number where one is given.
ours() {
  local pid
  for pid in $(pgrep -x gcpo); do
    [[ "$(readlink "/proc/$pid/cwd")" == "$dir" ]] || continue
    [[ -z "${1:-}" ]] || tr '\0' '\n' <"/proc/$pid/environ" | grep -qx "SLURM_PROCID=$1" || continue
    echo "$pid"
  done
}

up() {
  mkdir -m 700 "$dir/munge" && chmod 755 "$dir" && mkdir "$dir/bin" "$dir/state" "$dir"/{spool,tmp}-node{1,2}
  ln -s "$gcpo" "$dir/bin/gcpo"
  head -c 1024 /dev/urandom >"$dir/munge/key" && chmod 400 "$dir/munge/key"
  # --force: root may, though the others may not, look into its directory.
  munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge.pid" --log-file="$dir/munge.log" \
    --seed-file="$dir/munge/seed" 2>/dev/null
  # Two GPUs a machine that are none: /dev/null by other names.
  mknod "$dir/gpu0" c 1 3 && mknod "$dir/gpu1" c 1 3
  echo "Name=gpu File=$dir/gpu[0-1]" >"$dir/gres.conf"
  cat >"$SLURM_CONF" <<CONF
ClusterName=gcpo
SlurmctldHost=head(10.97.0.254)
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$dir/munge/socket
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
# Where PMIx puts a job's directory; the machines share /tmp, and each wants one of its own.
TmpFS=$dir/tmp-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
KillWait=10
SlurmdTimeout=20
NodeName=node[1-2] NodeAddr=10.97.0.[1-2] CPUs=4 Gres=gpu:2
PartitionName=trial Nodes=ALL Default=YES
CONF
  "$here/hosts.sh" up 2
  ip addr add 10.97.0.254/24 dev gcpobr
  unshare --uts sh -c "hostname head; exec slurmctld -c"
  for n in 1 2; do
    # Not `ip netns exec`, which gives it a /sys without cgroups.
    nsenter --net="/run/netns/gcpo$n" unshare --uts sh -c "hostname node$n; exec slurmd"
  done
  wait_for 60 are_idle
}

# config STEPS [SECONDS]: a run of so many short steps. A rank that does not come is missed after so many seconds, or 3.
config() {
  cat >"$dir/run.toml" <<RUN
[model]
path = "quickstart"
[data]
generator = "arithmetic"
[prompt]
style = "marks"
[grader]
kind = "numbers"
[objective]
name = "grpo"
[rollout]
num_generations = 4
max_completion_length = 16
[train]
max_steps = $1
prompts_per_step = 8
ddp_timeout = ${2:-3}
[checkpoint]
every = 1
RUN
}

# submit NAME OPTIONS…: the job goes on with runs/NAME, and writes to NAME.log.
submit() {
  local name="$1"
  shift
  (cd "$dir" && sbatch --parsable --ntasks-per-node=2 --gpus-per-node=2 --cpus-per-task=1 --time=30 -o "$name.log" "$@" \
    "$here/gcpo.sbatch" run.toml "$name")
}

# wait_for SECONDS COMMAND…
wait_for() {
  local left="$1"
  shift
  until "$@"; do
    ((left-- > 0)) || { echo "it does not come: $*" >&2; return 1; }
    sleep 1
  done
}

are_idle() { [[ "$(sinfo -h -N -t idle | wc -l)" == 2 ]]; }
of() { scontrol show job "$1" | sed -nE "s/.*\b$2=([^ ]*).*/\1/p"; }
is() { [[ "$(of "$1" JobState)" =~ ^($2)$ ]]; }
steps() { { compgen -G "$dir/$1/checkpoints/step-*" || true; } | wc -l; }
has_steps() { (($(steps "$1") >= $2)); }
ended() { wait_for "$2" is "$1" 'COMPLETED|FAILED|TIMEOUT|CANCELLED|NODE_FAIL'; }

# says NAME TEXT…: its log has all of them.
says() {
  local name="$1" text
  shift
  for text in "$@"; do
    grep -qE -- "$text" "$dir/$name.log" || { echo "nobody says \"$text\":" && cat "$dir/$name.log" && return 1; }
  done
}

# ends NAME JOB STATE CODE
ends() {
  ended "$2" 120
  local found
  found="$(of "$2" JobState) $(of "$2" ExitCode)"
  [[ "$found" == "$3 $4:"* ]] || { echo "$1 ended as $found, not as $3 $4:" && cat "$dir/$1.log" && return 1; }
  wait_for 60 no_rank
}
no_rank() { [[ -z "$(ours)" ]]; }

# same NAME: the weights of `whole`, to which nothing happened.
same() { cmp "$dir/whole/checkpoints/step-12/model.safetensors" "$dir/$1/checkpoints/step-12/model.safetensors"; }

# begin NAME [SECONDS]: a job of twelve steps that has done two.
begin() {
  config 12 "${2:-3}"
  job="$(submit "$1")"
  wait_for 120 has_steps "$1" 2
}

# goes_on NAME: the same command again comes to its end.
goes_on() {
  job="$(submit "$1")"
  ends "$1" "$job" COMPLETED 0
  same "$1"
}

trial_formed() {
  says whole 'run on 4 ranks, each cpu' 'step 12/12'
}

trial_apart() {
  local way
  config 2
  for way in none pmi2; do
    job="$(GCPO_SRUN="srun --mpi=$way --kill-on-bad-exit=1" submit "$way")"
    ends "$way" "$job" FAILED 1
    says "$way" 'srun --mpi=pmix'
    [[ ! -d "$dir/$way" ]]
  done
}

trial_killed() {
  # Slurm ends the others, before they miss it.
  begin killed 60
  kill -9 "$(ours 2)"
  ends killed "$job" FAILED 137
  says killed 'node2: task 2: Killed'
  goes_on killed
}

trial_hangs() {
  begin hangs
  kill -STOP "$(ours 3)"
  ends hangs "$job" FAILED 1
  says hangs 'error: rank 3 \(on node2\) did not come to .* train.ddp_timeout = 3 s'
  goes_on hangs
}

trial_cut() {
  begin cut
  "$here/hosts.sh" cut 2
  ends cut "$job" FAILED 1
  # A message of one of them may have been on its way already.
  says cut 'error: .*rank [23] \(on node2\) .* train.ddp_timeout = 3 s'
  "$here/hosts.sh" mend 2
  wait_for 90 are_idle
  goes_on cut
}

trial_time() {
  local count
  # A limit of three minutes, of which the signal comes two before the end.
  config 100000
  job="$(submit time --time=3)"
  wait_for 180 grep -q 'goes back into the queue' "$dir/time.log"
  count="$(steps time)"
  says time "stopped after step $count;" 'Exited with exit code 138'
  # Slurm lets two minutes pass before it begins a job again. The rest shall be short.
  config "$((count + 3))"
  wait_for 60 is "$job" PENDING
  ended "$job" 300
  ends time "$job" COMPLETED 0
  says time "step $((count + 3))/$((count + 3))"
  [[ "$(of "$job" Restarts)" == 1 ]]
}

trial_requeue() {
  begin requeue
  scontrol requeue "$job"
  ended "$job" 300
  ends requeue "$job" COMPLETED 0
  [[ "$(of "$job" Restarts)" == 1 ]]
  same requeue
}

trial_stopped() {
  begin stopped
  scancel --signal=TERM "$job"
  ends stopped "$job" FAILED 143
  says stopped 'stopped after step'
  [[ "$(of "$job" Restarts)" == 0 ]]
  goes_on stopped
}

trap down EXIT
up
echo "Slurm $(slurmctld -V), $(mpirun --version | head -n 1): $(sinfo -h -N | wc -l) machines"
config 12
job="$(submit whole)"
ends whole "$job" COMPLETED 0
for trial in "$@"; do
  case "$trial" in
    formed | apart | killed | hangs | cut | time | requeue | stopped) "trial_$trial" ;;
    cluster) read -r -p "SLURM_CONF=$SLURM_CONF; Enter ends it " ;;
    *) echo "there is no trial $trial" >&2; exit 2 ;;
  esac
  echo "ok: $trial"
done
