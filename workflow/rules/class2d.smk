# From particles to 2D classes: rounds as particles arrive, and each batch between them.


wildcard_constraints:
    particles=r"\d+",


checkpoint tally_particles:
    input:
        particle_tally_input,
    output:
        "results/tally/particles_v{version}/{batches}.json",
    log:
        "results/logs/tally/particles_v{version}_{batches}.log",
    wildcard_constraints:
        batches=r"\d+",
    priority: 100
    localrule: True
    script:
        "../../scripts/tally_particles.py"


rule freeze_particles:
    input:
        tables=round_tables,
        model=picking_model,
    output:
        "results/subsets/particles_{particles}.star",
    log:
        "results/logs/freeze/particles_{particles}.log",
    priority: 100
    localrule: True
    script:
        "../../scripts/freeze_particles.py"


rule class2d:
    input:
        particles="results/subsets/particles_{particles}.star",
        diameter="results/picking/size.json",
        start=round_start,
    output:
        about="results/class2d/{particles}/averages.star",
        particles="results/class2d/{particles}/particles.star",
    log:
        "results/logs/class2d/{particles}.log",
    priority: 80
    threads: settings.compute.threads
    resources:
        **asks("class2d"),
    script:
        "../../scripts/class2d.py"


rule assess_class2d:
    input:
        about="results/class2d/{particles}/averages.star",
        particles="results/class2d/{particles}/particles.star",
        overrides=label_overrides,
    output:
        classes="results/class2d/{particles}/classes.star",
        selected="results/class2d/{particles}/selected.star",
        decisions="results/class2d/{particles}/decisions.star",
    log:
        "results/logs/class2d/{particles}_assess.log",
    priority: 85
    localrule: settings.class2d.ranker == "native"  # other rankers are programs that compute
    resources:
        **asks("assess_class2d"),
    script:
        "../../scripts/assess_class2d.py"


rule stream_class2d:
    input:
        particles="results/particles/{batch}/particles.star",
        about="results/class2d/{particles}/averages.star",
    output:
        particles="results/class2d/{particles}/stream/{batch}.star",
    log:
        "results/logs/class2d/{particles}_{batch}.log",
    threads: settings.compute.threads
    resources:
        **asks("stream_class2d"),
    script:
        "../../scripts/stream_class2d.py"


rule live_class2d:
    input:
        particles="results/class2d/{particles}/stream/{batch}.star",
        classes=ancient("results/class2d/{particles}/classes.star"),
    output:
        "results/class2d/{particles}/stream/{batch}.json",
    log:
        "results/logs/class2d/{particles}_{batch}_live.log",
    priority: 85
    localrule: True
    script:
        "../../scripts/live_class2d.py"
