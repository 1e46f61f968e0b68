"""Snakemake's scheduler `cryosnake`: what is urgent first, then batches in the order of the ledger.

The schedulers that come with Snakemake start jobs of one priority in any order. Where hundreds of
batches wait, the first ones may then be among the last to be done, and every threshold, which is a
prefix of the ledger, waits for them.
"""

from snakemake_interface_scheduler_plugins.base import SchedulerBase


class Scheduler(SchedulerBase):
    """Goes through the jobs by priority and batch, and starts each that still fits."""

    def select_jobs(self, selectable_jobs, remaining_jobs, available_resources, input_sizes):
        """The jobs to start now; they need no more than there is of any resource."""
        free, chosen = dict(available_resources), []
        for job in sorted(selectable_jobs, key=order):
            needs = {name: job.scheduler_resources.get(name, 0) for name in free}
            if all(needs[name] <= free[name] for name in free):
                free = {name: amount - needs[name] for name, amount in free.items()}
                chosen.append(job)
        return chosen


def order(job) -> tuple[int, str]:
    """The place of a job: urgent ones first, then those of no batch, then by batch."""
    batch = "" if job.is_group() else job.wildcards.get("batch", "")
    return -job.priority, batch
