# Movies become batches. No rule owns a batch: to Snakemake it is a source file.


checkpoint ingest:
    output:
        "results/ingest/tick_{tick}.json",
    log:
        "results/logs/ingest/tick_{tick}.log",
    priority: 1000
    localrule: True
    threads: 0  # it sleeps
    params:
        owner_pid=session.pid,
    script:
        "../../scripts/ingest.py"
