# From curated micrographs to coordinates: the size, three pickers, their consensus, a model of this sample.


wildcard_constraints:
    picker="|".join(settings.picking.pickers),
    version=r"\d+",


rule particle_size:
    input:
        "results/subsets/micrographs_size.star",
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
        "../../scripts/particle_size.py"


rule training_set:
    input:
        "results/subsets/micrographs_training.star",
    output:
        "results/picking/training/micrographs.star",
    log:
        "results/logs/picking/training_set.log",
    priority: 90
    localrule: True
    script:
        "../../scripts/training_set.py"


rule pick_training:
    input:
        micrographs="results/picking/training/micrographs.star",
        diameter="results/picking/size.json",
    output:
        picks="results/picking/training/{picker}.star",
        decisions="results/picking/training/{picker}_decisions.star",
    log:
        "results/logs/picking/training_{picker}.log",
    priority: 90
    threads: settings.compute.threads
    resources:
        **asks("pick_training"),
    script:
        "../../scripts/pick_training.py"


rule consensus:
    input:
        micrographs="results/picking/training/micrographs.star",
        diameter="results/picking/size.json",
        picks=expand(
            "results/picking/training/{picker}.star", picker=settings.picking.pickers
        ),
    output:
        consensus="results/picking/training/consensus.star",
        agreement="results/picking/training/agreement.json",
        decisions="results/picking/training/consensus_decisions.star",
    log:
        "results/logs/picking/consensus.log",
    priority: 90
    localrule: True
    script:
        "../../scripts/consensus.py"


rule train_picker:
    input:
        micrographs="results/picking/training/micrographs.star",
        diameter="results/picking/size.json",
        consensus="results/picking/training/consensus.star",
        agreement="results/picking/training/agreement.json",
        picks=expand(
            "results/picking/training/{picker}.star", picker=settings.picking.pickers
        ),
    output:
        model="results/picking/model/v{version}.pt",
        about="results/picking/model/v{version}.json",
        decisions="results/picking/model/v{version}_decisions.star",
    log:
        "results/logs/picking/train_v{version}.log",
    priority: 90
    threads: settings.compute.threads
    resources:
        **asks("train_picker"),
    script:
        "../../scripts/train_picker.py"


rule pick:
    input:
        micrographs="results/preprocess/{batch}/micrographs.star",
        diameter="results/picking/size.json",
        model=f"results/picking/model/v{settings.picking.model_version}.json",
    output:
        coordinates="results/picking/{batch}/coordinates.star",
        counts="results/picking/{batch}/counts.csv",
        decisions="results/picking/{batch}/decisions.star",
    log:
        "results/logs/picking/{batch}.log",
    threads: settings.compute.threads
    resources:
        **asks("pick"),
    script:
        "../../scripts/pick.py"
