"""External programs: what is said when they fail, and that nothing of them is left running."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from cryosnake.engines.command import EngineError, engine_environment, run_program, split_command
from cryosnake.errors import CryosnakeError

#: A program whose child outlives it, and which takes no notice of SIGTERM.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open("pids", "w").write(f"{os.getpid()} {child.pid}")
time.sleep(60)
"""


def shell(text: str, folder: Path, **options) -> str:
    return run_program(["sh", "-c", text], folder=folder, log=folder / "log.txt", **options)


def failure(text: str, folder: Path) -> EngineError:
    with pytest.raises(EngineError) as caught:
        shell(text, folder)
    return caught.value


def pids(folder: Path) -> list[int]:
    """Of the program and its child, once both run."""
    for _ in range(200):
        if (folder / "pids").exists() and (folder / "pids").read_text():
            return [int(pid) for pid in (folder / "pids").read_text().split()]
        time.sleep(0.05)
    raise AssertionError("the program did not start")


def ended(pid: int) -> bool:
    """Whether a process is gone, or goes within two seconds."""
    try:
        process = psutil.Process(pid)
        for _ in range(40):
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        return True
    return False


def test_runs_in_its_folder_with_its_environment_and_logs_both_streams(tmp_path):
    tail = shell("pwd; echo $GREETING 1>&2", tmp_path, environment={"GREETING": "hello"})
    assert tail.splitlines() == [str(tmp_path), "hello"]
    assert (tmp_path / "log.txt").read_text() == f"{tmp_path}\nhello\n"


def test_a_failure_tells_command_exit_code_and_end_of_the_log(tmp_path):
    error = failure("seq 1 5000; echo the last words; exit 3", tmp_path)
    assert isinstance(error, CryosnakeError)
    assert error.exit_code == 3
    assert "sh -c 'seq 1 5000" in error.command
    assert error.log_tail.endswith("4999\n5000\nthe last words")
    assert len(error.log_tail) <= 3000
    for part in (error.command, "exit code: 3", "the last words"):
        assert part in str(error)


def test_progress_bars_and_bad_bytes_do_not_fill_the_message(tmp_path):
    error = failure(r"printf '  0 %%\r 50 %%\r100 %%\n\377done\n'; exit 1", tmp_path)
    assert error.log_tail == "100 %\n�done"


@pytest.mark.parametrize(
    ("ending", "code", "words"),
    [
        ("kill -KILL $$", -9, "killed by signal 9 (SIGKILL; often by the system"),
        ("exit 137", 137, "killed by signal 9 (SIGKILL; often by the system"),
        ("kill -TERM $$", -15, "killed by signal 15 (SIGTERM; often by the scheduler"),
        ("kill -SEGV $$", -11, "killed by signal 11 (SIGSEGV)"),
        ("echo 'write: No space left on device'; exit 1", 1, "no space left on the device"),
        ("exit 1", 1, "sh failed"),
        ("exit 255", 255, "sh failed"),
    ],
)
def test_the_reason_is_told_in_words(tmp_path, ending, code, words):
    error = failure(ending, tmp_path)
    assert error.exit_code == code
    assert words in error.problem


def test_a_full_disk_is_told_where_the_program_does_not_notice(tmp_path, monkeypatch):
    assert "disk" not in failure("exit 1", tmp_path).problem
    full = shutil.disk_usage(tmp_path)._replace(free=2**19)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    assert failure("exit 1", tmp_path).problem == f"sh failed; the disk of {tmp_path} is full"


def test_a_program_that_is_not_there_is_named_as_configured(tmp_path):
    with pytest.raises(
        EngineError, match=r"program not found: 'relion_refine_9 --x' is configured"
    ):
        split_command("relion_refine_9 --x")
    with pytest.raises(EngineError, match="program not found: '' is configured, but nothing"):
        split_command("")
    with pytest.raises(EngineError, match="cannot be started") as caught:
        run_program([tmp_path / "gone"], folder=tmp_path, log=tmp_path / "log.txt")
    assert caught.value.exit_code is None


def test_a_configured_command_may_have_arguments(tmp_path):
    assert split_command("sh -c 'a b'") == [split_command("sh")[0], "-c", "a b"]
    assert os.path.isabs(split_command("sh")[0])


def test_the_environment_of_an_engine(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert engine_environment(2, hide_gpus=False)["CUDA_VISIBLE_DEVICES"] == "3"
    hidden = engine_environment(2, hide_gpus=True)
    assert (hidden["CUDA_VISIBLE_DEVICES"], hidden["OMP_NUM_THREADS"]) == ("", "2")


def test_an_ordinary_end_leaves_no_background_process(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    shell("sleep 60 >/dev/null 2>&1 & echo $! > pids", tmp_path)
    assert all(ended(pid) for pid in pids(tmp_path))
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_interruption_ends_the_program_and_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr("cryosnake.engines.command.GRACE_S", 0.3)
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    started = threading.Thread(target=lambda: (pids(tmp_path), os.kill(os.getpid(), signal.SIGINT)))
    started.start()
    # a shell that starts the tests in the background has interruptions ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_program([sys.executable, "stubborn.py"], folder=tmp_path, log=tmp_path / "log.txt")
    finally:
        signal.signal(signal.SIGINT, before)
    started.join()
    assert [ended(pid) for pid in pids(tmp_path)] == [True, True]


def test_a_scheduler_that_ends_this_process_ends_the_program_too(tmp_path):
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    caller = (
        "import sys; from cryosnake.engines import command; command.GRACE_S = 0.3; "
        "command.run_program([sys.executable, 'stubborn.py'], folder='.', log='log.txt')"
    )
    process = subprocess.Popen([sys.executable, "-c", caller], cwd=tmp_path)
    started = pids(tmp_path)
    assert all(psutil.pid_exists(pid) for pid in started)
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert [ended(pid) for pid in started] == [True, True]
