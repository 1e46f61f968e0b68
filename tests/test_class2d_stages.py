"""2D classification as the workflow's jobs run it: rounds, assessment, streaming, failures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from classes2d_synthetic import BOX, DIAMETER, PIXEL, objects, particles

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.images import read_mrc, write_mrc
from cryosnake.particles import merge_particles, read_particles, write_particles
from cryosnake.picking.size_model import ParticleSize, write_size
from cryosnake.preprocess.row import EMPTY_ROW
from cryosnake.session.picked import live_alerts
from cryosnake.stages.assess_class2d import assess_round
from cryosnake.stages.class2d import classify
from cryosnake.stages.class2d_counts import developed
from cryosnake.stages.live_class2d import count_batch, refresh_live
from cryosnake.stages.stream_class2d import stream
from cryosnake.tables import read_star, read_table, write_star

PER_BATCH, ROUND = 250, 500
GROUPS = pd.DataFrame(
    {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": [1],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [PIXEL],
        "rlnImageSize": [BOX],
        "csnPhaseFlipped": [0],
    }
)


def config(**class2d):
    rounds = [{"particles": ROUND, "classes": 5}, {"particles": 3 * PER_BATCH, "classes": 6}]
    return load_config({"class2d": {"rounds": rounds, **class2d}, "compute": {"device": "cpu"}})


def write_batch(session: Path, number: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Particles of three objects and some noise, extracted of two micrographs on two squares."""
    batch = layout.batch_name(number)
    images, optics, _ = particles(PER_BATCH, objects(3), empty=0.1, seed=seed)
    write_mrc(session / layout.particles_stack(batch), images, PIXEL)
    names = [f"{layout.PREPROCESS}/{batch}/m{i}.mrc" for i in range(2)]
    table = pd.DataFrame(
        {
            "rlnImageName": [
                f"{i + 1:06d}@{layout.particles_stack(batch)}" for i in range(PER_BATCH)
            ],
            "rlnMicrographName": np.repeat(names, PER_BATCH // 2),
            "rlnOpticsGroup": 1,
            "rlnDefocusU": optics.defocus_u_angst,
            "rlnDefocusV": optics.defocus_v_angst,
            "rlnDefocusAngle": optics.defocus_angle_deg,
        }
    )
    write_particles(session / layout.particles_star(batch), GROUPS, table)
    rows = pd.DataFrame([EMPTY_ROW] * 2).assign(
        rlnMicrographName=names, csnBatch=batch, csnGridSquare=["north", "south"]
    )
    write_star(session / layout.batch_table(batch), {"micrographs": rows})
    return GROUPS, table


def write_subset(session: Path, tables) -> None:
    write_particles(session / layout.particle_subset(ROUND), *merge_particles(tables))


@pytest.fixture(scope="module")
def extracted(tmp_path_factory) -> Path:
    """Three batches of particles; the first two are the subset of a round."""
    session = tmp_path_factory.mktemp("extracted")
    size = ParticleSize(
        diameter_angst=DIAMETER / 1.3,
        uncertainty_angst=3.0,
        long_axis_angst=DIAMETER / 1.25,
        short_axis_angst=DIAMETER / 1.4,
        elongated=False,
        box_px=BOX,
    )
    write_size(session / layout.SIZE, size, {})
    tables = [write_batch(session, number, seed=number + 1) for number in range(3)]
    write_subset(session, tables[:2])
    return session


@pytest.fixture(scope="module")
def classified(extracted, tmp_path_factory) -> Path:
    """The round is classified and assessed."""
    session = Path(
        shutil.copytree(extracted, tmp_path_factory.mktemp("classified"), dirs_exist_ok=True)
    )
    classify(session, ROUND, config(), "cpu", 1)
    assess_round(session, ROUND, config())
    return session


@pytest.fixture
def session(classified, tmp_path) -> Path:
    return Path(shutil.copytree(classified, tmp_path / "session"))


def told(session: Path) -> pd.DataFrame:
    path = session / layout.class2d_file(ROUND, "decisions.star")
    return read_table(path, "decisions")


def test_a_round_leaves_averages_tables_and_a_montage(classified):
    folder = (classified / layout.class2d_file(ROUND, "classes.star")).parent
    averages, pixel = read_mrc(folder / "classes.mrcs")
    assert averages.shape == (5, BOX, BOX)
    assert pixel == pytest.approx(PIXEL)
    classes = read_table(folder / "classes.star", "classes")
    assert classes["csnClassPopulation"].sum() == ROUND
    assert classes["rlnClassDistribution"].sum() == pytest.approx(1.0, abs=1e-3)
    assert (
        classes["rlnReferenceImage"].iloc[4]
        == f"000005@{layout.class2d_file(ROUND, 'classes.mrcs')}"
    )
    _, table = read_particles(folder / "particles.star")
    assert len(table) == ROUND
    assert table["rlnClassNumber"].between(1, 5).all()
    numbers = table["rlnClassNumber"].value_counts().reindex(range(1, 6), fill_value=0)
    assert numbers.tolist() == classes["csnClassPopulation"].tolist()
    _, selected = read_particles(folder / "selected.star")
    kept = classes.loc[classes["csnClassKept"] == 1, "csnClassPopulation"].sum()
    assert len(selected) == kept > 0
    assert (folder / "montage.png").stat().st_size > 1000
    assert "class2d" in set(told(classified)["csnRule"])


def test_the_same_seed_gives_the_same_round(extracted, tmp_path):
    found = []
    for name in "ab":
        session = Path(shutil.copytree(extracted, tmp_path / name))
        classify(session, ROUND, config(), "cpu", 1)
        found.append(read_mrc(session / layout.class2d_file(ROUND, "classes.mrcs"))[0])
    assert np.array_equal(*found)


def test_the_live_state_is_the_round_until_a_batch_comes(classified):
    live = json.loads((classified / layout.class2d_live("json")).read_text())
    assert (live["round"], live["particles"], live["classes"]) == (ROUND, ROUND, 5)
    assert [one["batch"] for one in live["batches"]] == ["b00000", "b00001"]
    assert {one["square"] for one in live["squares"]} == {"north", "south"}
    assert all(one["particles"] == PER_BATCH for one in live["batches"])
    classes = read_table(classified / layout.class2d_file(ROUND, "classes.star"), "classes")
    kept = classes.loc[classes["csnClassKept"] == 1, "csnClassPopulation"]
    good = sum(one["good"] * one["particles"] for one in live["batches"])
    assert good == pytest.approx(kept.sum(), abs=1)


def test_a_batch_streams_into_the_classes(session):
    assert stream(session, ROUND, "b00002", config(), "cpu") == PER_BATCH
    count_batch(session, ROUND, "b00002")
    refresh_live(session, config())
    live = json.loads((session / layout.class2d_live("json")).read_text())
    assert live["particles"] == ROUND + PER_BATCH
    assert [one["batch"] for one in live["batches"]] == ["b00000", "b00001", "b00002"]
    newest = read_table(session / layout.class2d_live("star"), "classes")
    assert newest["csnClassPopulation"].sum() == ROUND + PER_BATCH
    before = read_mrc(session / layout.class2d_file(ROUND, "classes.mrcs"))[0]
    averages = read_mrc(session / layout.class2d_live("mrcs"))[0]
    assert not np.array_equal(before, averages)
    for one, other in zip(before[:-1], averages[:-1], strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9
    # doing it again changes nothing
    refresh_live(session, config())
    assert np.array_equal(read_mrc(session / layout.class2d_live("mrcs"))[0], averages)


def test_an_empty_batch_streams_nothing(session):
    empty = read_particles(session / layout.particles_star("b00002"))[1].iloc[:0]
    write_particles(session / layout.particles_star("b00002"), GROUPS, empty)
    assert stream(session, ROUND, "b00002", config(), "cpu") == 0
    count_batch(session, ROUND, "b00002")
    refresh_live(session, config())
    live = json.loads((session / layout.class2d_live("json")).read_text())
    assert live["particles"] == ROUND


def test_the_next_round_starts_from_the_last_one(session):
    tables = [
        read_particles(session / layout.particles_star(layout.batch_name(i))) for i in range(3)
    ]
    number = 3 * PER_BATCH
    write_particles(session / layout.particle_subset(number), *merge_particles(tables))
    classes = classify(session, number, config(), "cpu", 1)
    assert len(classes) == 6
    assess_round(session, number, config())
    live = json.loads((session / layout.class2d_live("json")).read_text())
    assert live["round"] == number


def test_labels_given_by_hand_win_and_are_told(session):
    before = read_table(session / layout.class2d_file(ROUND, "classes.star"), "classes")
    kept = int(np.flatnonzero(before["csnClassKept"] == 1)[0])
    (session / "class2d_overrides.csv").write_text(
        f"round,class,label,note\n{ROUND},{kept + 1},edge,looks like carbon\n"
    )
    after = assess_round(session, ROUND, config())
    assert after.loc[kept, ["csnClassLabel", "csnClassKept", "csnClassReason"]].tolist() == [
        "edge",
        0,
        "override",
    ]
    assert told(session)["csnValue"].str.contains("edge").any() or (
        told(session)["csnEvidence"].str.contains("looks like carbon").any()
    )
    _, selected = read_particles(session / layout.class2d_file(ROUND, "selected.star"))
    assert kept + 1 not in set(selected["rlnClassNumber"])


@pytest.mark.parametrize("line", [f"{ROUND},2,splendid", f"{ROUND},77,good"])
def test_wrong_labels_by_hand_are_told_and_none_is_used(session, line):
    before = read_table(session / layout.class2d_file(ROUND, "classes.star"), "classes")
    (session / "class2d_overrides.csv").write_text(f"round,class,label\n{line}\n")
    after = assess_round(session, ROUND, config())
    assert after["csnClassLabel"].tolist() == before["csnClassLabel"].tolist()
    failed = told(session).query("csnRule == 'class2d_overrides'")
    assert failed["csnVerdict"].tolist() == ["fail"]
    assert "class2d_overrides.csv" in failed["csnValue"].iloc[0]


def test_a_damaged_batch_is_told_and_the_others_stream(session):
    stack = session / layout.particles_stack("b00002")
    stack.write_bytes(stack.read_bytes()[:5000])
    assert stream(session, ROUND, "b00002", config(), "cpu") == 0
    count_batch(session, ROUND, "b00002")
    refresh_live(session, config())
    live = json.loads((session / layout.class2d_live("json")).read_text())
    assert live["particles"] == ROUND
    (failed,) = live_alerts(session)
    assert (failed.subject, failed.rule, failed.verdict) == ("b00002", "class2d_stream", "fail")
    assert "particles.mrcs" in failed.value


def spoilt(session: Path, how) -> str:
    """Classify and assess a round whose table was changed; why there are no classes."""
    path = session / layout.particle_subset(ROUND)
    groups, table = read_particles(path)
    groups, table = how(groups, table)
    write_particles(path, groups, table)
    assert len(classify(session, ROUND, config(), "cpu", 1)) == 0
    classes = assess_round(session, ROUND, config())
    assert classes.empty
    failed = told(session)
    failed = failed[failed["csnVerdict"] == "fail"]
    assert len(failed) == 1
    assert not (session / layout.class2d_file(ROUND, "classes.mrcs")).exists()
    return failed["csnValue"].iloc[0]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda g, t: (g, t.drop(columns="rlnDefocusV")), "has no column rlnDefocusV"),
        (lambda g, t: (g.drop(columns="rlnVoltage"), t), "data_optics has no column rlnVoltage"),
        (lambda g, t: (g, t.assign(rlnDefocusU=np.nan)), "rlnDefocusU of 500 particles"),
        (lambda g, t: (g.assign(rlnImagePixelSize=0.0), t), "pixel size of 0.0 A"),
        (lambda g, t: (g.assign(rlnImagePixelSize=0.2), t), "pixels of 0.2 A"),
        (lambda g, t: (g, t.iloc[:1]), "1 particles for 2 classes"),
        (
            lambda g, t: (g, t.assign(rlnImageName=t["rlnImageName"].str.replace("b00001", "b9"))),
            "results/particles/b9/particles.mrcs",
        ),
        (
            lambda g, t: (g, t.replace("000250@", "009250@", regex=True)),
            "250 images",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_classified_is_told_and_ends_nothing(extracted, tmp_path, how, words):
    session = Path(shutil.copytree(extracted, tmp_path / "session"))
    assert words in spoilt(session, how)


def test_a_round_of_useless_images_is_told(extracted, tmp_path):
    session = Path(shutil.copytree(extracted, tmp_path / "session"))
    for batch, value in (("b00000", 3.0), ("b00001", np.nan)):
        images = np.full((PER_BATCH, BOX, BOX), value, np.float32)
        write_mrc(session / layout.particles_stack(batch), images, PIXEL)
    assert "0 of 500 particles are usable" in spoilt(session, lambda g, t: (g, t))


def test_a_batch_streams_into_nothing_where_the_round_failed(extracted, tmp_path):
    session = Path(shutil.copytree(extracted, tmp_path / "session"))
    spoilt(session, lambda g, t: (g, t.iloc[:1]))
    assert stream(session, ROUND, "b00002", config(), "cpu") == 0
    count_batch(session, ROUND, "b00002")
    refresh_live(session, config())
    assert not (session / layout.class2d_live("json")).exists()


def test_a_mask_without_room_in_the_box_is_told(extracted, tmp_path):
    session = Path(shutil.copytree(extracted, tmp_path / "session"))
    wide = config(mask_diameter_angst=300.0)
    classify(session, ROUND, wide, "cpu", 1)
    assess_round(session, ROUND, wide)
    found = told(session)
    value = found.loc[found["csnRule"] == "class2d_mask", "csnValue"]
    assert value.tolist() == [f"mask of {(BOX - 6) * PIXEL:.0f} A"]


@pytest.mark.relion
def test_relion_makes_the_classes_of_the_same_rule(extracted, tmp_path):
    if shutil.which("relion_refine") is None:
        pytest.skip("relion_refine (Debian's package relion) is not installed")
    session = Path(shutil.copytree(extracted, tmp_path / "session"))
    groups, table = read_particles(session / layout.particle_subset(ROUND))
    write_particles(session / layout.particle_subset(ROUND), groups, table.iloc[:60])
    relion = config(engine="relion", relion_iterations=2)
    classes = classify(session, ROUND, relion, "cpu", 2)
    assert len(classes) == 5
    assert classes["csnClassPopulation"].sum() == 60
    assessed = assess_round(session, ROUND, relion)
    assert assessed["csnClassLabel"].isin(["good", "clip", "edge", "noise"]).all()
    about = read_star(session / layout.class2d_file(ROUND, "averages.star"))["general"]
    assert (about["csnClassEngine"], about["csnProblem"]) == ("relion", "-")
    assert json.loads((session / layout.class2d_live("json")).read_text())["engine"] == "relion"


def test_a_missing_relion_is_told(extracted, tmp_path):
    session = Path(shutil.copytree(extracted, tmp_path / "session"))
    relion = config(engine="relion", relion_command="relion_of_nowhere")
    classify(session, ROUND, relion, "cpu", 1)
    assess_round(session, ROUND, relion)
    failed = told(session)
    assert failed.loc[failed["csnVerdict"] == "fail", "csnValue"].str.contains("nowhere").any()


ASSESS2D = """#!/bin/sh
while [ $# -gt 0 ]; do case $1 in -o) out=$2;; -n) name=$2;; esac; shift; done
mkdir -p $out/Good $out/Clip $out/Edge $out/Noise
touch $out/Good/${name}_1.jpg $out/Clip/${name}_2.jpg $out/Edge/${name}_3.jpg
touch $out/Good/${name}_4.jpg $out/Noise/${name}_5.jpg
"""


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_another_program_may_judge_the_classes(session):
    settings = {"ranker": "2dassess", "ranker_model": "weights.h5"}
    command = program(session / "fake2dassess", ASSESS2D)
    classes = assess_round(session, ROUND, config(ranker_command=command, **settings))
    assert classes["csnClassLabel"].tolist() == ["good", "clip", "edge", "good", "noise"]
    assert not told(session)["csnRule"].eq("class2d_ranker").any()


def test_a_ranker_that_fails_is_told_and_the_model_judges(session):
    before = read_table(session / layout.class2d_file(ROUND, "classes.star"), "classes")
    settings = {"ranker": "2dassess", "ranker_model": "weights.h5"}
    command = program(session / "failing", "#!/bin/sh\necho no weights\nexit 3\n")
    classes = assess_round(session, ROUND, config(ranker_command=command, **settings))
    assert classes["csnClassLabel"].tolist() == before["csnClassLabel"].tolist()
    failed = told(session).query("csnRule == 'class2d_ranker'")
    assert failed["csnVerdict"].tolist() == ["fail"]
    assert "no weights" in failed["csnValue"].iloc[0]


def test_quality_and_views_are_told_by_batch_and_square():
    rows = [
        {"batch": "b0", "square": "s", "particles": 100, "counts": [40, 40, 20], "evidence": 10.0},
        {"batch": "b1", "square": "s", "particles": 100, "counts": [50, 0, 45], "evidence": 4.0},
        {"batch": "b1", "square": "t", "particles": 10, "counts": [0, 0, 0], "evidence": None},
    ]
    kept = np.array([True, True, False])
    first, second = developed(rows, kept, "batch")
    assert first == {
        "batch": "b0",
        "particles": 100,
        "good": 0.8,
        "evidence": 10.0,
        "largest_view": 0.5,
        "views": 2.0,
    }
    assert (second["particles"], second["views"], second["evidence"]) == (110, 1.0, 4.0)
    _, t = developed(rows, kept, "square")
    assert (t["good"], t["largest_view"], t["views"], t["evidence"]) == (0.0, None, None, None)
