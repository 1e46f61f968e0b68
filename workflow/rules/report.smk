# What people read.


rule report:
    input:
        "results/.tables.made",
    output:
        touch("results/.report.made"),  # as with the tables
    log:
        "results/logs/report.log",
    priority: 50
    localrule: True
    script:
        "../../scripts/report.py"
