"""Where jobs run: the project's own scripts, with the heavy stages replaced."""

import os
import resource
import runpy
import time
from pathlib import Path

from snakemake.iocontainers import Snakemake

from replay import pace, stages
from replay.job import Order, Outcome
from replay.plan import Plan

stages.replace_heavy_ones()


class InjectedError(Exception):
    """A failure that the plan asked for."""


def run_script(order: Order) -> Outcome:
    """Run a job in this process."""
    os.chdir(order.session)
    started_s, before_s = time.time(), time.process_time()
    pace.begin()
    problem = None
    try:
        _may_fail(order)
        runpy.run_path(order.script, init_globals={"snakemake": _snakemake(order)})
    except (Exception, SystemExit) as error:
        problem = f"{type(error).__name__}: {error}"
    return Outcome(
        started_s,
        time.time(),
        pace.nominal_s(),
        time.process_time() - before_s,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        problem,
    )


def _may_fail(order: Order) -> None:
    """Fail as the plan has it, with the first output half written."""
    if Plan.read(Path.cwd()).fails(order.name, order.attempt):
        half = Path(order.output[0])
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_text("data_\n\nloop_\n_rlnMicro")
        raise InjectedError(f"{order.name}, attempt {order.attempt}")


def _snakemake(order: Order) -> Snakemake:
    return Snakemake(
        order.input,
        order.output,
        order.params,
        order.wildcards,
        order.threads,
        order.resources,
        order.log,
        order.config,
        order.rule,
        None,
        str(Path(order.script).parent),
    )
