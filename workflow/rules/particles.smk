# From coordinates to a particle stack, batch by batch.


rule extract:
    input:
        micrographs="results/preprocess/{batch}/micrographs.star",
        coordinates="results/picking/{batch}/coordinates.star",
        diameter="results/picking/size.json",
    output:
        particles="results/particles/{batch}/particles.star",
        counts="results/particles/{batch}/counts.csv",
        decisions="results/particles/{batch}/decisions.star",
    log:
        "results/logs/particles/{batch}.log",
    threads: settings.compute.threads
    resources:
        **asks("extract"),
    script:
        "../../scripts/extract.py"
