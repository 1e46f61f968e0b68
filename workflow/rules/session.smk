# Counting, thresholds, and the tables of the whole session. Small and urgent: before bulk work.


checkpoint tally:
    input:
        tally_input,
    output:
        "results/tally/{batches}.json",
    log:
        "results/logs/tally/{batches}.log",
    wildcard_constraints:
        batches=r"\d+",
    priority: 100
    localrule: True
    params:
        before=lambda wildcards: session.micrograph_tallies.before(
            int(wildcards.batches)
        ),
        refresh=lambda wildcards: session.goes_on_after(int(wildcards.batches)),
    script:
        "../../scripts/tally.py"


rule freeze:
    input:
        subset_tables,
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
        movies=all_tables,
        coordinates=batch_coordinates,
        particles=batch_particles,
        classes2d=classes2d,
        streamed=streamed,
    output:
        # The tables themselves are no outputs: people read them meanwhile, and of an output that is
        # updated Snakemake believes after a failure that it was.
        touch("results/.tables.made"),
    log:
        "results/logs/session_tables.log",
    priority: 50
    localrule: True
    script:
        "../../scripts/session_tables.py"


rule relion_folder:
    input:
        classes2d=classes2d,
        volumes=volumes,
        micrographs=ancient("results/.tables.made"),
    output:
        "results/session/relion/README.txt",
    log:
        "results/logs/relion_folder.log",
    priority: 50
    localrule: True
    script:
        "../../scripts/relion_folder.py"
