# In place of picking and extraction, where a session starts from particles: their size, and each batch of the table.


wildcard_constraints:
    version=r"\d+",


rule particle_size:
    input:
        "results/batches/b00000.star",
    output:
        diameter="results/picking/size.json",
        picture="results/picking/size.png",
        decisions="results/picking/size_decisions.star",
    log:
        "results/logs/picking/size.log",
    priority: 90
    threads: settings.compute.threads
    resources:
        **asks("particle_size"),
    script:
        "../../scripts/given_size.py"


rule take_particles:
    input:
        batch="results/batches/{batch}.star",
        diameter="results/picking/size.json",
    output:
        particles="results/particles/{batch}/particles.star",
        counts="results/particles/{batch}/counts.csv",
        decisions="results/particles/{batch}/decisions.star",
    log:
        "results/logs/particles/{batch}.log",
    threads: settings.compute.threads
    resources:
        **asks("take_particles"),
    script:
        "../../scripts/take_particles.py"
