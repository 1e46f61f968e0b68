# Counting, thresholds, and the tables of the whole session. Small and urgent: before bulk work.


def due_tallies(wildcards):
    """Tallies that are due and not there yet; finished ones need not be asked for."""
    return [
        f"results/tally/{covered:05d}.json" for covered in session.missing_tallies()
    ]


def ask_tally(covered):
    """Make the DAG wait for the tally over this many batches."""
    checkpoints.tally.get(batches=f"{covered:05d}")


def subset_of(milestone):
    """An input function that gives the milestone's subset once it can be frozen."""
    return lambda wildcards: session.subset(milestone, ask_tally)


def session_tables(wildcards):
    """The tables of the session, once this run takes in no more and there is something to show."""
    next_tick(wildcards)
    return ["results/micrographs.star"] if session.batches() else []


def all_tables(wildcards):
    """What the session's tables are made of: all batches, and the files left out."""
    next_tick(wildcards)
    return session.tables() + session.left_out()


checkpoint tally:
    input:
        lambda wildcards: session.tally_inputs(int(wildcards.batches)),
    output:
        "results/tally/{batches}.json",
    log:
        "results/logs/tally/{batches}.log",
    wildcard_constraints:
        batches=r"\d+",
    priority: 100
    localrule: True
    params:
        before=lambda wildcards: session.tally_before(int(wildcards.batches)),
    script:
        "../../scripts/tally.py"


rule freeze:
    input:
        lambda wildcards: ancient(session.subset_tables(wildcards.milestone, ask_tally)),
    output:
        "results/subsets/micrographs_{milestone}.star",
    log:
        "results/logs/freeze/{milestone}.log",
    priority: 100
    localrule: True
    script:
        "../../scripts/freeze.py"


rule session_tables:
    input:
        all_tables,
    output:
        micrographs=update("results/micrographs.star"),
        metrics=update("results/metrics.csv"),
        decisions=update("results/decisions.star"),
    log:
        "results/logs/session_tables.log",
    priority: 50
    localrule: True
    script:
        "../../scripts/session_tables.py"
