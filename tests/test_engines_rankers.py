"""Verdicts of other programs, as their documented output looks (they were not at hand to run)."""

from pathlib import Path

import numpy as np
import pytest

from cryosnake.assessment.labels import LABELS
from cryosnake.engines.class_rankers import (
    assess2d_command,
    class_ranker_command,
    read_assess2d,
    read_class_ranker,
)
from cryosnake.engines.command import EngineError
from cryosnake.errors import BadInputError

RANKED = """
# version 30001

data_model_classes

loop_
_rlnReferenceImage #1
_rlnClassScore #2
_rlnClassDistribution #3
_rlnAccuracyRotations #4
_rlnAccuracyTranslationsAngst #5
_rlnEstimatedResolution #6
000001@Class2D/job013/run_it100_classes.mrcs  0.876543  0.353747   1.500000   0.752250  9.258462
000002@Class2D/job013/run_it100_classes.mrcs  -0.01123  0.646253 999.000000 999.000000       inf
000003@Class2D/job013/run_it100_classes.mrcs -999.0000  0.000000 999.000000 999.000000      -nan
"""


def ranked(folder: Path, text: str) -> Path:
    path = folder / "rank_model.star"
    path.write_text(text)
    return path


def test_scores_of_the_class_ranker(tmp_path):
    scores = read_class_ranker(ranked(tmp_path, RANKED), 3)
    assert scores[:2].tolist() == [0.876543, 0.0]
    assert np.isnan(scores[2])


def test_scores_follow_the_class_and_not_the_row(tmp_path):
    lines = RANKED.splitlines()
    lines[-1], lines[-3] = lines[-3], lines[-1]
    scores = read_class_ranker(ranked(tmp_path, "\n".join(lines) + "\n"), 3)
    assert scores[0] == 0.876543
    assert np.isnan(scores[2])


@pytest.mark.parametrize(
    ("text", "classes", "words"),
    [
        (RANKED, 4, "1 to 4, each once"),
        (RANKED.replace("000002@", "000001@"), 3, "1 to 3, each once"),
        (RANKED.replace("000002@Class2D", "Class2D"), 3, "1 to 3, each once"),
        (RANKED.replace("rlnClassScore", "rlnOther"), 3, "no rlnClassScore"),
        (RANKED.replace("0.876543", "nan"), 3, "scores"),
        (RANKED.replace("0.876543", "48.0"), 3, "scores"),
        (RANKED.replace("0.876543", "-999").replace("-0.01123", "-999"), 3, "scores"),
        (RANKED.replace("data_model_classes", "data_other"), 3, "no block data_model_classes"),
    ],
)
def test_output_that_is_not_one_score_a_class_is_refused(tmp_path, text, classes, words):
    with pytest.raises(BadInputError, match=words):
        read_class_ranker(ranked(tmp_path, text), classes)


def sorted_pictures(folder: Path, pictures: dict[str, list[str]]) -> Path:
    for name in ("Good", "Clip", "Edge", "Noise"):
        (folder / name).mkdir()
        for picture in pictures.get(name, []):
            (folder / name / picture).touch()
    return folder


def test_labels_of_2dassess(tmp_path):
    folder = sorted_pictures(
        tmp_path,
        {
            "Good": ["particle_2.jpg", "particle_10.jpg"],
            "Clip": ["particle_1.jpg", "particle_3.jpg", "particle_4.jpg"],
            "Edge": ["particle_5.jpg", "particle_6.jpg"],
            "Noise": ["particle_7.jpg", "particle_8.jpg"],
        },
    )
    verdicts = read_assess2d(folder, 10, blank=[9])
    assert verdicts.sum(axis=1).tolist() == [1.0] * 10
    labels = [LABELS[index] for index in verdicts.argmax(axis=1)]
    assert labels == ["clip", "good", *["clip"] * 2, *["edge"] * 2, *["noise"] * 3, "good"]


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        ({"Good": ["particle_1.jpg"]}, "class 2 of 1 such has 0 labels"),
        ({}, "class 1 of 2 such has 0 labels"),
        (
            {"Good": ["particle_1.jpg", "particle_2.jpg"], "Edge": ["particle_2.jpg"]},
            "class 2 of 1 such has 2 labels",
        ),
        ({"Good": ["particle_1.jpg", "particle_3.jpg"]}, "no class of this name"),
        ({"Good": ["particle_1.jpg", "average.jpg"]}, "no class of this name"),
    ],
)
def test_a_class_without_one_label_is_refused(tmp_path, pictures, words):
    with pytest.raises(BadInputError, match=words):
        read_assess2d(sorted_pictures(tmp_path, pictures), 2)


def test_the_command_lines(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="program not found: 'relion_class_ranker'"):
        class_ranker_command("run_it025_optimiser.star", "rank")
    for name in ("relion_class_ranker", "2dassess"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    line = class_ranker_command("c/run_it025_optimiser.star", "rank", python="/opt/python")
    assert " ".join(line) == (
        f"{tmp_path}/relion_class_ranker --opt c/run_it025_optimiser.star --o rank/ "
        "--fn_root rank --do_granularity_features --auto_select --min_score 0.15 "
        "--fn_sel_parts particles.star --fn_sel_classavgs class_averages.star "
        "--python /opt/python"
    )
    line = assess2d_command("a/classes.mrcs", "out", model="m.h5")
    assert " ".join(line) == (
        f"{tmp_path}/2dassess -i {tmp_path}/a/classes.mrcs -m {tmp_path}/m.h5 "
        f"-o {tmp_path}/out -n particle"
    )
