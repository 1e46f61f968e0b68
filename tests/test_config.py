"""The configuration: generated files agree with the model; wrong values are answered in a line."""

import json

import pytest
import yaml

from cryosnake.config import generate, layered, load_config, read_template, template_names
from cryosnake.config.describe import settings
from cryosnake.config.model import Config
from cryosnake.errors import BadInputError

ROOT = generate.ROOT


def test_generated_files_agree_with_the_model(capsys):
    assert generate.stale() == [], "run python -m cryosnake.config.generate"
    assert generate.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_a_stale_file_is_found(tmp_path):
    for name, text in generate.generated().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert generate.stale(tmp_path) == []
    (tmp_path / "docs/config.md").write_text("old")
    (tmp_path / "config/config.yaml").unlink()
    assert generate.stale(tmp_path) == ["config/config.yaml", "docs/config.md"]


def test_default_yaml_holds_every_key_and_gives_the_defaults():
    content = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert load_config(content) == Config() == load_config({})
    assert {f"{s}.{k}" for s, keys in content.items() for k in keys} == {
        row.name for row in settings()
    }


def test_every_setting_explains_itself():
    for row in settings():
        assert len(row.help) > 10, row.name
        assert row.allowed, row.name
        assert row.expert in (0, 1, 2), row.name


def test_settings_come_by_level_within_a_section():
    by_section = {}
    for row in settings():
        by_section.setdefault(row.section, []).append(row.expert)
    assert all(levels == sorted(levels) for levels in by_section.values())


def test_schema_refuses_what_the_model_refuses():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    default = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert not list(validator.iter_errors(default))
    for wrong in (
        {"acquisition": {"voltage_kv": 3}},
        {"acquisition": {"pixel_size": 1}},
        {"curation": {"mode": "some"}},
        {"nothing": {}},
    ):
        assert list(validator.iter_errors(wrong)), wrong


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"acquisition": {"voltage_kv": 3}},
            "acquisition.voltage_kv = 3; expected a number from 60 to 1000, or null",
        ),
        (
            {"acquisition": {"pixel_size": 1.1}},
            "acquisition.pixel_size = 1.1 is not a known key;"
            " expected acquisition.pixel_size_angst, perhaps",
        ),
        (
            {"pixel_size_angst": 1.1},
            "pixel_size_angst = 1.1 is not a known section;"
            " expected acquisition.pixel_size_angst, perhaps",
        ),
        (
            {"aquisition": {}},
            "aquisition = {} is not a known section; expected acquisition, perhaps",
        ),
        (
            {"ctf": {"drift_max_angst": 3}},
            "ctf.drift_max_angst = 3 is not a known key;"
            " expected curation.drift_max_angst, perhaps",
        ),
        (
            {"report": {"zzz": 1}},
            "report.zzz = 1 is not a known key; expected one of gallery, low_acceptance, title",
        ),
        (
            {"curation": {"mode": "some"}},
            "curation.mode = some; expected one of sequence, all",
        ),
        (
            {"curation": {"reject_by": ["drift", "luck"]}},
            "curation.reject_by = ['drift', 'luck'];"
            " expected a list of any of: dose, drift, spectrum, class, ctf",
        ),
        (
            {"motion": {"patches": [0, 2]}},
            "motion.patches = [0, 2]; expected counts of 1 or more",
        ),
        (
            {"motion": {"patches": "many"}},
            "motion.patches = many; expected a list of 2 whole numbers, or auto",
        ),
        (
            {"ctf": {"resolution_high_angst": 10, "resolution_low_angst": 8}},
            "ctf.resolution_high_angst = 10; expected less than ctf.resolution_low_angst = 8",
        ),
        (
            {"ctf": {"defocus_max_angst": 1000}},
            "ctf.defocus_min_angst = 2000; expected less than ctf.defocus_max_angst = 1000",
        ),
        (
            {"curation": {"drift_max_angst": 50}},
            "curation.drift_max_angst = 50; expected not more than curation.drift_path_angst = 45",
        ),
        (
            {"milestones": {"stringent_defocus_max_angst": 10000}},
            "milestones.stringent_defocus_min_angst = 10000;"
            " expected less than milestones.stringent_defocus_max_angst = 10000",
        ),
        ({"input": {"suffixes": ["tif"]}}, "input.suffixes = ['tif']; expected endings that begin"),
        ({"ingest": 3}, "ingest = 3; expected a section with keys"),
        ({"ingest": {"batch_movies": True}}, "ingest.batch_movies = true; expected a whole number"),
        ({"report": {"title": ""}}, "report.title = ; expected a text that is not empty"),
        ({"acquisition": {"cs_mm": float("nan")}}, "acquisition.cs_mm = nan; expected a number"),
    ],
)
def test_one_line_for_a_wrong_value(content, words):
    with pytest.raises(BadInputError) as caught:
        load_config(content)
    message = str(caught.value)
    assert message.startswith(words)
    assert "\n" not in message


def test_several_wrong_values_are_counted():
    with pytest.raises(BadInputError, match=r"\(and 2 more wrong values\)$"):
        load_config({"ctf": {"a": 1, "tile_px": 3}, "acquisition": {"cs_mm": -1}})


def test_a_file_is_named_in_the_message(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("ctf:\n  tile_px: 3\n")
    with pytest.raises(BadInputError, match=r"config\.yaml: ctf\.tile_px = 3; expected"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ctf:\n  tilted: true\n  tilted: false\n", "key tilted twice, at line 3"),
        ("ctf: [", "expected valid YAML"),
        ("just words", "expected sections with keys"),
    ],
)
def test_broken_yaml_is_one_line(tmp_path, text, words):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(BadInputError) as caught:
        load_config(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_empty_sections(tmp_path):
    with pytest.raises(BadInputError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("acquisition:\nctf:\n")
    assert load_config(tmp_path / "empty.yaml") == Config()


def test_numbers_as_text_are_read():
    # Snakemake's nested --config delivers texts
    config = load_config({"ctf": {"tilted": "false", "tile_px": "256"}})
    assert config.ctf.tilted is False
    assert config.ctf.tile_px == 256


@pytest.mark.parametrize("name", template_names())
def test_templates_layer_over_the_default(name):
    default = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config = load_config(layered(default, read_template(name)))
    assert config.ctf.tilted is name.endswith("-tilted")


def test_tilted_thresholds():
    config = load_config(read_template("simple-tilted"))
    assert config.curation.drift_max_angst == 30
    assert config.curation.drift_path_angst == 120
    assert config.curation.ctf_max_resolution_angst == 8.5
    assert config.milestones.training_micrographs == 500
    assert config.motion.max_shift_angst > config.curation.drift_path_angst


def test_a_template_turns_a_tilted_session_back():
    assert load_config(layered(read_template("3d-tilted"), read_template("3d"))) == Config()
    simple = load_config(layered(read_template("simple-tilted"), read_template("simple")))
    assert simple == load_config({"workflow": {"until": "particles"}})


def test_unknown_template_names_those_that_exist():
    with pytest.raises(BadInputError, match=r"expected one of .*simple, simple-tilted"):
        read_template("complicated")


def test_layering_does_not_touch_the_layers():
    below = {"ctf": {"tilted": False}}
    assert layered(below, {"ctf": {"tilted": True}}) == {"ctf": {"tilted": True}}
    assert below == {"ctf": {"tilted": False}}
