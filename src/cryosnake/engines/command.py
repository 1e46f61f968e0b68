"""Run an external program and say plainly what became of it."""

import errno
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cryosnake.errors import ToolError

#: Characters of the end of a log that an error carries.
TAIL = 3000

#: Seconds between the polite and the hard end of a program that is interrupted.
GRACE_S = 10.0


class EngineError(ToolError):
    """An engine could not be started, failed, or left output that does not fit.

    Parameters
    ----------
    problem : what happened, in words.
    command : the command line, as it can be pasted into a shell.
    exit_code : the exit code; negative where a signal ended the program, None where it never
        started.
    log_tail : the end of what it printed.
    """

    def __init__(self, problem: str, command: str, exit_code: int | None, log_tail: str):
        super().__init__(command, exit_code, log_tail)
        self.problem = problem

    def __str__(self) -> str:
        code = "" if self.exit_code is None else f"\nexit code: {self.exit_code}"
        tail = f"\nend of its log:\n{self.log_tail}" if self.log_tail else ""
        return f"{self.problem}\ncommand: {self.command}{code}{tail}"


def split_command(command: str) -> list[str]:
    """A configured program, which may have arguments (`apptainer exec x.sif relion_refine`), as a
    list that begins with the program's full path.

    Raises
    ------
    EngineError : it is empty, or there is no such program.
    """
    parts = shlex.split(command)
    found = shutil.which(parts[0]) if parts else None
    if found is None:
        raise EngineError(
            f"program not found: {command!r} is configured, but {parts[0] if parts else 'nothing'} "
            "is neither on the PATH nor an executable file",
            command,
            None,
            "",
        )
    return [os.path.abspath(found), *parts[1:]]


def engine_environment(threads: int, *, hide_gpus: bool) -> dict[str, str]:
    """The environment of an engine: this process's, with its share of the machine.

    Parameters
    ----------
    threads : of every numerical library it may be linked with.
    hide_gpus : the program sees no GPU; otherwise those that this process sees.
    """
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = str(threads)
    if hide_gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def run_program(
    command: Sequence[str],
    *,
    folder: str | os.PathLike,
    log: str | os.PathLike,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end; what it prints goes to `log`. Returns the end of the log.

    The program and all it starts form a process group. When this process is interrupted (Ctrl-C,
    SIGTERM from a scheduler, any exception), the whole group is ended before the interruption goes
    on.

    Parameters
    ----------
    command : program and arguments.
    folder : where it runs.
    log : written anew.
    environment : of the program; None: that of this process.

    Raises
    ------
    EngineError : it cannot be started, or ends with another exit code than 0.
    """
    command = [os.fspath(part) for part in command]
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as stream, _terminated_as_exception():
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            reason = f"{command[0]} cannot be started in {folder}: {error.strerror or error}"
            raise EngineError(reason, shlex.join(command), None, "") from error
        try:
            code = process.wait()
        finally:
            _end_group(process)
    tail = log_tail(log)
    if code:
        problem = _explanation(command[0], code, tail) + full_disk(folder)
        raise EngineError(problem, shlex.join(command), code, tail)
    return tail


def full_disk(folder: str | os.PathLike) -> str:
    """A remark where the disk of a folder is full; many programs do not notice. Else empty."""
    free_mb = shutil.disk_usage(folder).free / 2**20
    return f"; the disk of {folder} is full" if free_mb < 1.0 else ""


def log_tail(log: str | os.PathLike, characters: int = TAIL) -> str:
    """The end of a log, with progress bars reduced to their last state and bad bytes replaced."""
    with open(log, "rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - 16 * characters))
        text = stream.read().decode("utf-8", errors="replace")
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.split("\n")]
    return "\n".join(lines).strip()[-characters:]


def _explanation(program: str, code: int, tail: str) -> str:
    """The failure in words. A shell in between reports a signal as 128 and its number."""
    name = os.path.basename(program)
    if os.strerror(errno.ENOSPC).lower() in tail.lower():
        return f"{name} failed: no space left on the device"
    number = -code if code < 0 else code - 128
    try:
        which = signal.Signals(number).name
    except ValueError:
        return f"{name} failed"
    hint = {
        signal.SIGKILL: "; often by the system or the scheduler, for using too much memory",
        signal.SIGTERM: "; often by the scheduler, at the end of the job's time or when cancelled",
        signal.SIGXFSZ: "; a file grew beyond what is allowed here",
    }.get(number, "")
    return f"{name} was killed by signal {number} ({which}{hint})"


def _end_group(process: subprocess.Popen) -> None:
    """End what is left of a program's process group: nothing, after an ordinary end."""
    try:
        _signal_group(process, signal.SIGTERM)
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also when interrupted once more while it waits
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextmanager
def _terminated_as_exception() -> Iterator[None]:
    """Make SIGTERM unwind the stack, so that what was started is ended; in the main thread only,
    where Python allows it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, _):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
