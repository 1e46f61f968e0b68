# Two branches from the particles that 3D classification kept, and which volume the classes speak for.


rule branch2d:
    input:
        particles=branch2d_particles,
        diameter="results/picking/size.json",
    output:
        classes="results/validation/{particles}/branch2d/round{number}/classes.star",
        selected="results/validation/{particles}/branch2d/round{number}/selected.star",
        decisions="results/validation/{particles}/branch2d/round{number}/decisions.star",
    log:
        "results/logs/validation/{particles}_branch2d_{number}.log",
    wildcard_constraints:
        number=r"\d+",
    priority: 20
    threads: settings.compute.threads
    resources:
        **asks("branch2d"),
    script:
        "../../scripts/branch2d.py"


rule branch3d:
    input:
        particles="results/class3d/{particles}/selected.star",
        diameter="results/picking/size.json",
    output:
        volumes="results/validation/{particles}/branch3d/volumes.star",
        particles="results/validation/{particles}/branch3d/particles.star",
        decisions="results/validation/{particles}/branch3d/decisions.star",
    log:
        "results/logs/validation/{particles}_branch3d.log",
    priority: 20
    threads: settings.compute.threads
    resources:
        **asks("branch3d"),
    script:
        "../../scripts/branch3d.py"


rule crossvalidate:
    input:
        classes=branch2d_classes,
        first="results/class3d/{particles}/volumes.star",
        volumes="results/validation/{particles}/branch3d/volumes.star",
    output:
        scores="results/validation/{particles}/crossvalidation.star",
        particles="results/validation/{particles}/particles.star",
        decisions="results/validation/{particles}/decisions.star",
    log:
        "results/logs/validation/{particles}.log",
    priority: 20
    threads: settings.compute.threads
    resources:
        **asks("crossvalidate"),
    script:
        "../../scripts/crossvalidate.py"
