# Movies become batches. No rule owns a batch: to Snakemake it is a source file.

import os


def next_tick(wildcards):
    """The wait for movies that this run needs; nothing once it takes in no more."""
    number = session.next_tick()
    return [] if number is None else checkpoints.ingest.get(tick=f"{number:05d}").output


def batch_tables(wildcards):
    """The tables of all batches that are closed by now."""
    return session.tables()


checkpoint ingest:
    output:
        "results/ingest/tick_{tick}.json",
    log:
        "results/logs/ingest/tick_{tick}.log",
    priority: 1000
    localrule: True
    threads: 0  # it sleeps
    params:
        owner_pid=os.getpid(),
    script:
        "../../scripts/ingest.py"
