"""In which order jobs are started."""

from dataclasses import dataclass, field

import pytest
from snakemake_interface_scheduler_plugins.registry import SchedulerPluginRegistry


@dataclass
class Job:
    """What the scheduler asks of a job."""

    name: str
    priority: int = 0
    wildcards: dict = field(default_factory=dict)
    scheduler_resources: dict = field(default_factory=lambda: {"_cores": 1})

    def is_group(self) -> bool:
        return False


@pytest.fixture
def select():
    """The names of the jobs that are started where there is so much free."""
    SchedulerPluginRegistry().collect_plugins()
    plugin = SchedulerPluginRegistry().get_plugin("cryosnake")
    scheduler = plugin.scheduler(None, None, None)

    def names(jobs, **free) -> list[str]:
        return [job.name for job in scheduler.select_jobs(jobs, jobs, free, {})]

    return names


def batch(rule: str, number: int, **options) -> Job:
    return Job(f"{rule} {number}", wildcards={"batch": f"b{number:05d}"}, **options)


def test_batches_are_started_in_the_order_of_the_ledger(select):
    jobs = [batch("preprocess", number) for number in (40, 7, 300, 2)]
    assert select(jobs, _cores=3) == ["preprocess 2", "preprocess 7", "preprocess 40"]


def test_an_early_batch_is_finished_before_a_late_one_is_begun(select):
    jobs = [batch("preprocess", 9), batch("pick", 3), batch("extract", 4)]
    assert select(jobs, _cores=2) == ["pick 3", "extract 4"]


def test_what_is_urgent_goes_first(select):
    jobs = [batch("preprocess", 0), Job("class2d", 80), Job("tally", 100), Job("abinitio", 20)]
    assert select(jobs, _cores=9) == ["tally", "class2d", "abinitio", "preprocess 0"]


def test_what_does_not_fit_is_passed_over_and_not_more_is_started_than_fits(select):
    large = batch("preprocess", 0, scheduler_resources={"_cores": 4, "gpu": 1})
    small = [batch("extract", n, scheduler_resources={"_cores": 2}) for n in (1, 2, 3)]
    assert select([*small, large], _cores=5, gpu=0) == ["extract 1", "extract 2"]
    assert select([*small, large], _cores=5, gpu=1) == ["preprocess 0"]
    assert select([*small, large], _cores=0, gpu=1) == []
