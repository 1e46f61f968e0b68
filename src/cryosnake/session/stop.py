"""Ending a session's run from another shell, and what an earlier run left behind."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from cryosnake.errors import BadInputError, SessionStopError
from cryosnake.session import lock
from cryosnake.session.leftovers import clear_leftovers
from cryosnake.session.lock import (
    RunRecord,
    gives_signs,
    is_held,
    new_record,
    read_record,
    session_lock,
)
from cryosnake.session.orphans import foreign_runs, local_orphans, with_nothing_lost

#: A starter ends Snakemake within 40 s, and then sees its jobs leave the queue (at most 180 s).
_WAIT_S = 240.0


def stop_session(
    session: Path, say: Callable[[str], None], *, at_once: bool = False, wait_s: float = _WAIT_S
) -> None:
    """End the run of a session, wherever it is, and all that works on it; finished work is kept.

    Parameters
    ----------
    at_once : kill it, do not ask.
    wait_s : how long a run that was asked may take to end.

    Raises
    ------
    BadInputError : there is no session in this folder.
    SessionStopError : it runs on another machine, or was started by hand, or does not end.
    """
    if not (session / "config.yaml").is_file():
        raise BadInputError(
            session, "no config.yaml", "the folder of a session (cryosnake init makes one)"
        )
    record = read_record(session)
    _refuse_elsewhere(session, record)
    ran = is_held(session)
    if ran:
        _end_starter(session, record, say, at_once=at_once, wait_s=wait_s)
        record = read_record(session)
    orphans, by_hand = local_orphans(session), foreign_runs(session)
    if not (orphans or by_hand or (record is not None and (record.slurm or record.ended is None))):
        say("stopped; what is finished is kept" if ran else f"nothing runs in {session}")
        return
    mode, profile = (record.mode, record.profile) if record else ("rerun", "local")
    with session_lock(session, new_record(mode, profile, slurm=False), say=say) as hold:
        clear_leftovers(session, say, before=hold.before, slurm=hold.slurm)
        hold.slurm, hold.exit_code = False, 128 + signal.SIGINT
    say("nothing works on the session any more; what is finished is kept")


def _refuse_elsewhere(session: Path, record: RunRecord | None) -> None:
    if record is None or record.ended is not None or record.here:
        return
    if is_held(session) or gives_signs(session, 1.2 * lock.BEAT_S):
        raise SessionStopError(
            f"{session} is run by {record.in_words()}: "
            f"ssh {record.host} cryosnake stop {session.resolve()}"
        )


def _end_starter(
    session: Path,
    record: RunRecord | None,
    say: Callable[[str], None],
    *,
    at_once: bool,
    wait_s: float,
) -> None:
    process = record.process() if record is not None else None
    if process is None:
        raise SessionStopError(f"{session} is held by a process that has just started; try again")
    try:
        if at_once:
            say(f"killing {record.in_words()}")
            for one in (process, *process.children(recursive=True)):
                with_nothing_lost(one.kill)
        else:
            say(f"asking {record.in_words()} to end; its jobs end with it")
            with_nothing_lost(lambda: process.send_signal(signal.SIGINT))
    except psutil.AccessDenied as error:
        raise SessionStopError(f"{record.in_words()} belongs to the user {record.user}") from error
    end = time.monotonic() + wait_s
    while is_held(session):
        if time.monotonic() > end:
            raise SessionStopError(
                f"{record.in_words()} has not ended within {wait_s:.0f} s; "
                f"kill it with: cryosnake stop {session} --now"
            )
        time.sleep(0.2)
