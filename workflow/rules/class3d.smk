# From the particles of good 2D classes to volumes: from nothing, then sorted among them.


rule abinitio:
    input:
        particles="results/class2d/{particles}/selected.star",
        diameter="results/picking/size.json",
    output:
        "results/abinitio/{particles}/volumes.star",
    log:
        "results/logs/abinitio/{particles}.log",
    priority: 20
    threads: settings.compute.threads
    resources:
        **asks("abinitio"),
    script:
        "../../scripts/abinitio.py"


rule class3d:
    input:
        particles="results/class2d/{particles}/selected.star",
        classes="results/class2d/{particles}/classes.star",
        volumes="results/abinitio/{particles}/volumes.star",
    output:
        volumes="results/class3d/{particles}/volumes.star",
        particles="results/class3d/{particles}/particles.star",
        selected="results/class3d/{particles}/selected.star",
        decisions="results/class3d/{particles}/decisions.star",
    log:
        "results/logs/class3d/{particles}.log",
    priority: 20
    threads: settings.compute.threads
    resources:
        **asks("class3d"),
    script:
        "../../scripts/class3d.py"
