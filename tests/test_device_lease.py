"""GPUs of one machine shared by several sessions: never two jobs on one, and each in its turn."""

import itertools
import json
import multiprocessing
import os
import time

import pytest
import torch

from cryosnake import compute
from cryosnake.device_queue import queued

#: Processes begin as copies of this one: PyTorch need not be loaded again.
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def gpus(monkeypatch):
    """GPUs that are made up; the locks, the queue and the processes are real."""
    number = {"gpus": 1}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number["gpus"])
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    monkeypatch.setattr(compute, "gpu_name", lambda index: f"gpu-{index}")
    return number


def session(folder, name, jobs, last_s):
    """One job after the other on whatever GPU is leased; who had which, and when, is noted."""
    for _ in range(jobs):
        with compute.leased_device("cuda", folder=folder / "gpus", poll_s=0.01) as device:
            start_s = time.monotonic()
            time.sleep(last_s)
            end_s = time.monotonic()
        with open(folder / f"{name}.jsonl", "a") as file:
            file.write(json.dumps([name, device.index, start_s, end_s]) + "\n")


def begin(folder, name, *, jobs=1, last_s=0.03):
    child = FORK.Process(target=session, args=(folder, name, jobs, last_s))
    child.start()
    return child


def leases(folder):
    """Name, GPU, and the moments at which each was taken and given back, in that order."""
    found = []
    for path in folder.glob("*.jsonl"):
        found += [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(found, key=lambda lease: lease[2])


def wait_for(condition, *, timeout_s=60):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def places(folder):
    return len(list(folder.glob("gpus/queue-*/*.place")))


def test_jobs_of_several_sessions_never_hold_the_same_gpu(tmp_path, gpus):
    gpus["gpus"] = 2
    children = [begin(tmp_path, name, jobs=8) for name in "abcd"]
    for child in children:
        child.join(timeout=120)
    assert [child.exitcode for child in children] == [0, 0, 0, 0]
    found = leases(tmp_path)
    assert len(found) == 32
    assert {gpu for _, gpu, _, _ in found} == {0, 1}
    for number in (0, 1):
        times = [(start, end) for _, gpu, start, end in found if gpu == number]
        assert all(after[0] >= before[1] for before, after in itertools.pairwise(times))


def test_jobs_that_wait_get_the_gpu_in_turn(tmp_path):
    with compute.leased_device("cuda", folder=tmp_path / "gpus"):
        children = []
        for number, name in enumerate(("third", "first", "second", "fourth")):
            children.append(begin(tmp_path, name))
            wait_for(lambda number=number: places(tmp_path) == number + 1)
    for child in children:
        child.join(timeout=120)
    assert [name for name, *_ in leases(tmp_path)] == ["third", "first", "second", "fourth"]
    assert places(tmp_path) == 0


def test_a_killed_job_frees_its_gpu_and_its_place(tmp_path):
    holder = begin(tmp_path, "holder", last_s=600)
    wait_for(lambda: list(tmp_path.glob("gpus/*.lock")) and not places(tmp_path))
    waiter = begin(tmp_path, "waiter", last_s=600)
    wait_for(lambda: places(tmp_path) == 1)
    for child in (waiter, holder):
        child.kill()
        child.join(timeout=60)
    (place,) = tmp_path.glob("gpus/queue-*/*.place")
    os.utime(place, (1000, 1000))  # long ago
    with compute.leased_device("cuda", folder=tmp_path / "gpus", poll_s=0.01) as device:
        assert device.index == 0
    assert places(tmp_path) == 0


def test_a_place_that_is_about_to_be_locked_is_never_cleared(tmp_path):
    with queued(tmp_path) as first, queued(tmp_path) as second:
        assert first.is_first()
        assert not second.is_first()
        young = tmp_path / f"{0:020d}-1-aaaaaaaa.place"
        young.touch()
        assert not first.is_first()
        assert young.exists()
        os.utime(young, (1000, 1000))
        assert first.is_first()
        assert not young.exists()
    assert list(tmp_path.glob("*.place")) == []


@pytest.mark.parametrize("choice", ["cpu", "auto"])
def test_without_gpus_nobody_queues(tmp_path, gpus, choice):
    gpus["gpus"] = 0
    with compute.leased_device(choice, folder=tmp_path) as device:
        assert device.type == "cpu"
    assert list(tmp_path.iterdir()) == []
