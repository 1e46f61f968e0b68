"""`cryosnake install-profile`: Snakemake finds it by its name; nothing else is overwritten."""

from pathlib import Path

import pytest
import yaml
from snakemake.cli import get_profile_dir
from snakemake.common import get_appdirs
from snakemake.profiles import ProfileConfigFileParser
from typer.testing import CliRunner

from cryosnake.cli import app
from cryosnake.errors import BadInputError
from cryosnake.session.profiles import install_profile, profile_folder

ROOT = Path(__file__).resolve().parents[1]
SLURM = ROOT / "profiles/slurm"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Snakemake's folder of a user that has none yet."""
    monkeypatch.setattr(type(get_appdirs()), "user_config_dir", str(tmp_path / "config/snakemake"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "config/snakemake"


def test_snakemake_finds_the_profile_by_its_name(folder):
    assert profile_folder() == folder
    assert get_profile_dir("slurm") is None
    done = CliRunner().invoke(app, ["install-profile"])
    assert done.exit_code == 0, done.output
    assert f"linked {folder / 'slurm'} to {SLURM}" in done.output
    assert "snakemake --profile slurm" in done.output
    found, config = get_profile_dir("slurm")
    assert found.resolve() == SLURM
    with open(config, encoding="utf-8") as file:
        assert ProfileConfigFileParser().parse(file)["executor"] == "slurm"
    again = CliRunner().invoke(app, ["install-profile"])
    assert again.exit_code == 0
    assert "already" in again.output


def test_a_site_has_its_own_profile_under_any_name(folder, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "config.yaml").write_text("executor: slurm\n")
    done = CliRunner().invoke(app, ["install-profile", str(site), "--name", "slurm"])
    assert done.exit_code == 0, done.output
    assert get_profile_dir("slurm")[0].resolve() == site
    # a link to a site's own profile is the site's: no other takes its place
    with pytest.raises(BadInputError, match="is a link to"):
        install_profile(SLURM)
    assert (folder / "slurm").resolve() == site


@pytest.mark.parametrize("made", ["folder", "file", "link", "dangling"])
def test_what_is_not_its_own_is_never_overwritten(folder, tmp_path, made):
    folder.mkdir(parents=True)
    there = folder / "slurm"
    if made == "folder":
        there.mkdir()
        (there / "config.yaml").write_text("jobs: 3\n")
    elif made == "file":
        there.write_text("jobs: 3\n")
    else:
        if made == "link":
            (tmp_path / "mine").mkdir()
        there.symlink_to(tmp_path / "mine")
    before = there.readlink() if there.is_symlink() else None
    with pytest.raises(BadInputError, match="--name"):
        install_profile(SLURM)
    assert before == (there.readlink() if there.is_symlink() else None)
    if made == "folder":
        assert (there / "config.yaml").read_text() == "jobs: 3\n"
    assert [path.name for path in folder.iterdir()] == ["slurm"]
    done = CliRunner().invoke(app, ["install-profile"])
    assert done.exit_code == 1
    assert install_profile(SLURM, "cluster").startswith("linked")


def test_a_link_to_another_checkout_is_its_own(folder, tmp_path):
    other = tmp_path / "other"
    for file in ("workflow/Snakefile", "src/cryosnake/__init__.py", "profiles/slurm/config.yaml"):
        (other / file).parent.mkdir(parents=True)
        (other / file).touch()
    install_profile(other / "profiles/slurm")
    said = install_profile(SLURM)
    assert f"no longer to {other / 'profiles/slurm'}" in said
    assert (folder / "slurm").resolve() == SLURM
    # a checkout that was moved away leaves a link to nothing
    (folder / "slurm").unlink()
    (folder / "slurm").symlink_to(tmp_path / "gone/profiles/slurm")
    install_profile(SLURM)
    assert (folder / "slurm").resolve() == SLURM


def test_names_and_folders_that_cannot_be_used_are_told(folder, tmp_path):
    with pytest.raises(BadInputError, match="without slashes"):
        install_profile(SLURM, "a/b")
    (tmp_path / "config").write_text("not a folder")
    with pytest.raises(BadInputError, match="cannot be made"):
        install_profile(SLURM)


def test_the_profiles_are_plain_yaml_that_any_program_can_read():
    for profile in ("local", "slurm"):
        content = yaml.safe_load((ROOT / "profiles" / profile / "config.yaml").read_text())
        assert content["rerun-triggers"] == ["mtime", "input"]
        assert content["keep-going"] is True
        assert content["rerun-incomplete"] is True
