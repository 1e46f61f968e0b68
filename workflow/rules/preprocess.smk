# Motion, CTF and quality of one batch in one job.


wildcard_constraints:
    batch=r"b\d+",


rule preprocess:
    input:
        "results/batches/{batch}.star",
    output:
        table="results/preprocess/{batch}/micrographs.star",
        decisions="results/preprocess/{batch}/decisions.star",
    log:
        "results/logs/preprocess/{batch}.log",
    threads: settings.compute.threads
    resources:
        **asks("preprocess"),
    script:
        "../../scripts/preprocess.py"
