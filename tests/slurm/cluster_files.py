"""What the cluster of the tests is made of: configuration, a key, device nodes, a wrapper."""

import contextlib
import os
import secrets
import shutil
import socket
import stat
from pathlib import Path

_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
PlugStackConfig={folder}/plugstack.conf
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
# no cgroups here: what a job takes is looked at now and then, and it is ended above its request
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=3
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
# finished jobs stay in the queue's memory: their states are all there is without accounting
MinJobAge=7200
KillWait=5
SlurmctldTimeout=30
SlurmdTimeout=60
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:fake:{gpus}
PartitionName=cpu Nodes=ALL Default=YES MaxTime=2-0 State=UP
PartitionName=gpu Nodes=ALL MaxTime=2-0 State=UP
"""


def write_files(folder: Path, *, cpus: int, gpus: int, memory_mb: int) -> None:
    """Folders, keys, device nodes and configuration of a cluster in a folder."""
    for name in ("state", "spool", "munge", "dev", "bin"):
        (folder / name).mkdir(parents=True, mode=0o755)
    folder.chmod(0o755)  # munged refuses a socket that others cannot reach
    key = folder / "munge/key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    for number in range(gpus):
        os.mknod(folder / f"dev/gpu{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    devices = f"{folder}/dev/gpu[0-{gpus - 1}]"
    (folder / "gres.conf").write_text(f"Name=gpu Type=fake File={devices}\n")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    (folder / "plugstack.conf").touch()
    # the executor's job step drops SLURM_CONF from the environment in which it calls srun
    srun = folder / "bin/srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {which("srun")} "$@"\n')
    srun.chmod(0o755)
    controller_port, node_port = free_ports(2)
    (folder / "slurm.conf").write_text(
        _CONFIG.format(
            host=socket.gethostname(),
            folder=folder,
            controller_port=controller_port,
            node_port=node_port,
            cpus=cpus,
            gpus=gpus,
            memory_mb=memory_mb,
        )
    )


def which(program: str) -> str | None:
    """Where a program is: first where Debian has it, not the wrapper of another such cluster."""
    return shutil.which(program, path="/usr/bin:/usr/sbin:" + os.environ.get("PATH", ""))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
