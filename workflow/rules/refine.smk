# From the chosen volume and its particles to a refined map, and what more particles would bring.


rule reextract:
    input:
        particles="results/validation/{particles}/particles.star",
        diameter="results/picking/size.json",
    output:
        "results/refine/{particles}/stack/particles.star",
    log:
        "results/logs/refine/{particles}_reextract.log",
    priority: 20
    threads: settings.compute.threads
    resources:
        **asks("reextract"),
    script:
        "../../scripts/reextract.py"


rule refine:
    input:
        particles="results/refine/{particles}/stack/particles.star",
        scores="results/validation/{particles}/crossvalidation.star",
        diameter="results/picking/size.json",
        start=refine_start,
    output:
        result="results/refine/{particles}/result.json",
        decisions="results/refine/{particles}/decisions.star",
    log:
        "results/logs/refine/{particles}.log",
    priority: 20
    threads: settings.compute.threads
    resources:
        **asks("refine"),
    script:
        "../../scripts/refine.py"


rule forecast:
    input:
        "results/refine/{particles}/result.json",
    output:
        "results/refine/{particles}/forecast.json",
    log:
        "results/logs/refine/{particles}_forecast.log",
    priority: 15
    threads: settings.compute.threads
    resources:
        **asks("forecast"),
    script:
        "../../scripts/forecast.py"
