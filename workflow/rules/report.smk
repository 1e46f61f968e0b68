# What people read.


def session_report(wildcards):
    """The report, once this run takes in no more and there is something to show."""
    return ["results/report.html"] if session_tables(wildcards) else []


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
