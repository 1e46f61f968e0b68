"""The cluster of the tests: GPUs are granted one by one, and nothing of it is left behind."""

import os
import time

import psutil
import pytest
from cluster import Cluster, missing, temporary_cluster


def visible(cluster: Cluster, *options: str) -> str:
    """The GPUs that a job sees."""
    words = ["srun", "--immediate=60", *options, "printenv", "CUDA_VISIBLE_DEVICES"]
    return cluster.command(*words, check=False)


def test_a_job_sees_the_gpus_that_it_asked_for(cluster):
    assert visible(cluster, "--partition=gpu", "--gpus=1") == "0"
    assert visible(cluster, "--partition=gpu", "--gres=gpu:2") == "0,1"
    assert visible(cluster, "--partition=cpu") == ""


def test_nothing_is_left_of_a_cluster():
    if reason := missing():
        pytest.skip(reason)
    with temporary_cluster(gpus=1) as one:
        number = one.command("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 600")
        end = time.monotonic() + 60
        while one.jobs()[0]["JobState"] != "RUNNING":
            assert time.monotonic() < end
            time.sleep(0.2)
        assert one.jobs()[0]["JobId"] == number
    assert not one.folder.exists()
    for process in psutil.process_iter():
        try:
            assert process.environ().get("SLURM_CONF") != one.environment["SLURM_CONF"] or (
                process.pid == os.getpid()
            )
        except psutil.Error:
            continue
