#!/usr/bin/env bash
# A real Slurm of one node for as long as a command runs:  slurm_cluster.sh FOLDER COMMAND [ARGUMENT...]
# Debian's slurm-wlm and munge (installed with apt-get where absent, as root), everything below FOLDER, loopback only, two fake
# GPUs, no accounting, no systemd, no cgroups. SLURM_CONF is set for the command and written in FOLDER/slurm.conf.
# Exit status 77: no Slurm can be had here; the last line on standard error says why.
set -euo pipefail
folder=$(realpath "$1"); shift

if ! command -v slurmctld slurmd munged >/dev/null; then
    [ "$(id -u)" = 0 ] || { echo "Slurm is not installed and only root can install it (apt-get install slurm-wlm munge)" >&2; exit 77; }
    command -v apt-get >/dev/null || { echo "Slurm is not installed and there is no apt-get" >&2; exit 77; }
    export DEBIAN_FRONTEND=noninteractive
    exec 9>/tmp/trustmm-slurm-install.lock; flock 9  # parallel tests install once
    install="apt-get -qq install -y --no-install-recommends slurm-wlm munge"
    { $install || { apt-get -qq update && $install; }; } >"$folder/install.log" 2>&1 ||
        { echo "apt-get cannot install slurm-wlm and munge: $(tail -1 "$folder/install.log")" >&2; exit 77; }
    exec 9>&-
fi
[ "$(id -u)" = 0 ] || { echo "this one-node Slurm runs as root" >&2; exit 77; }

mkdir -p "$folder"/{munge,state,spool,log}
chmod 700 "$folder/munge"
dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 status=none
chmod 400 "$folder/munge/key"
host=$(hostname -s)
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=200000,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=300
InactiveLimit=0
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=urgent Nodes=$host Default=NO MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
CONF
printf 'Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n' >"$folder/gres.conf"
export SLURM_CONF="$folder/slurm.conf"

stop() {
    trap '' INT TERM
    timeout 5 scancel -u root 2>/dev/null || true
    timeout 5 scancel --full --signal=KILL -u root 2>/dev/null || true
    for _ in $(seq 20); do [ -z "$(timeout 5 squeue -h 2>/dev/null)" ] && break; sleep 0.5; done
    for signal in TERM KILL; do
        for name in slurmd slurmctld munge/munged; do
            [ -s "$folder/$name.pid" ] && kill -$signal "$(cat "$folder/$name.pid")" 2>/dev/null || true
        done
        sleep 1
    done
}
trap stop EXIT
trap 'exit 143' TERM
munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/munged.pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
slurmctld -c
slurmd -c
for _ in $(seq 100); do
    [ "$(sinfo --noheader --format %T --partition main 2>/dev/null)" = idle ] && ready=yes && break
    sleep 0.2
done
[ -n "${ready:-}" ] || { echo "Slurm did not start: $(tail -2 "$folder"/log/*.log)" >&2; exit 77; }
"$@"
