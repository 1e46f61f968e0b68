# What people read.


rule report:
    input:
        micrographs="results/micrographs.star",
        decisions="results/decisions.star",
    output:
        update("results/report.html"),
    log:
        "results/logs/report.log",
    priority: 50
    localrule: True
    script:
        "../../scripts/report.py"
