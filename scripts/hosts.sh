#!/bin/bash
# Network namespaces of this machine that stand for hosts, for `mpirun` (OpenMPI). It needs root, `ip` and `unshare`. They share files.
#
#     scripts/hosts.sh up 3                     hosts 10.97.0.1 to 10.97.0.3
#     scripts/hosts.sh run 3 COMMAND…           a rank on each of three, started from the first
#     scripts/hosts.sh cut 3, mend 3            takes the third's cable out, and puts it back
#     scripts/hosts.sh down                     removes all of them
set -euo pipefail
me="$(cd "$(dirname "$0")" && pwd)/$(basename "$0")"
net=10.97.0

case "${1:?up, run, cut, mend or down}" in
  up)
    mkdir -p /run/netns
    ip link add gcpobr type bridge
    ip link set gcpobr up
    for n in $(seq "${2:?how many}"); do
      ip netns add "gcpo$n"
      ip link add "gcpov$n" type veth peer name eth0 netns "gcpo$n"
      ip link set "gcpov$n" master gcpobr up
      ip -n "gcpo$n" addr add "$net.$n/24" dev eth0
      ip -n "gcpo$n" link set eth0 up
      ip -n "gcpo$n" link set lo up
      # A connection whose data nobody acknowledges is given up after seconds, and not after a quarter of an hour.
      ip netns exec "gcpo$n" sh -c 'echo 3 >/proc/sys/net/ipv4/tcp_retries2'
    done
    ;;
  down)
    ip -o link | grep -o 'gcpov[0-9]*' | sort -u | while read -r link; do ip link del "$link" || true; done || true
    ip netns list | cut -d ' ' -f 1 | grep -x 'gcpo[0-9]*' | while read -r name; do ip netns del "$name"; done || true
    ip link del gcpobr 2>/dev/null || true
    ;;
  cut) ip -n "gcpo${2:?which}" link set eth0 down ;;
  mend) ip -n "gcpo${2:?which}" link set eth0 up ;;
  agent)
    # What `mpirun` takes for ssh: HOST COMMAND…
    n="${2##*.}"
    shift 2
    exec ip netns exec "gcpo$n" unshare --uts /bin/sh -c "hostname host$n; $*"
    ;;
  run)
    count="${2:?how many}"
    shift 2
    hosts="$(seq -s , -f "$net.%g:1" "$count")"
    # shellcheck disable=SC2016
    exec ip netns exec gcpo1 unshare --uts /bin/sh -c 'hostname host1; exec "$@"' sh \
      mpirun --allow-run-as-root --mca plm_rsh_agent "$me agent" --mca btl tcp,self --mca mpi_yield_when_idle 1 --mca btl_tcp_if_include "$net.0/24" \
      --mca oob_tcp_if_include "$net.0/24" --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 \
      --mca oob_tcp_keepalive_probes 3 --host "$hosts" -n "$count" "$@"
    ;;
  *)
    echo "up, run, cut, mend or down" >&2
    exit 2
    ;;
esac
