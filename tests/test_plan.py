"""Planning a session: the simulated machine, the chain, the answer, and measured costs."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cryosnake.cli import app
from cryosnake.config import load_config
from cryosnake.config.model import Config
from cryosnake.errors import BadInputError
from cryosnake.plan.answer import plan
from cryosnake.plan.chain import Chain
from cryosnake.plan.costs import COSTS, START_S, Costs
from cryosnake.plan.fit import measured_costs
from cryosnake.plan.machine import Job, Machine, Signal
from cryosnake.plan.resources import GPU_RULES
from cryosnake.plan.terms import LOCAL, PRIORITIES, Pace, Site
from cryosnake.session.job_record import JobRecord, record_path, write_record
from cryosnake.session.job_work import MovieSize

RULES = Path(__file__).resolve().parents[1] / "workflow" / "rules"


def jobs():
    """Jobs of any shape."""
    return st.builds(
        Job,
        st.just("any"),
        st.floats(0.1, 50),
        st.integers(0, 6),
        st.integers(0, 2),
        st.integers(0, 3),
    )


@given(st.lists(st.tuples(st.floats(0, 100), jobs()), max_size=30), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_a_machine_runs_all_and_never_more_than_it_has(arrivals, cores):
    machine = Machine(cores, gpus=1)
    for time_s, job in arrivals:
        machine.at(time_s, lambda job=job: machine.submit(job, lambda: None))
    machine.run()
    assert len(machine.runs) == len(arrivals)
    for moment in sorted(run.start_s for run in machine.runs):
        running = [run for run in machine.runs if run.start_s <= moment < run.end_s]
        assert sum(min(run.job.cores, cores) for run in running) <= cores
        assert sum(min(run.job.gpus, 1) for run in running) <= 1
    for run in machine.runs:
        assert run.start_s >= run.ready_s


def test_urgent_jobs_start_first_then_those_that_waited_longest():
    machine = Machine(cores=1)
    ended = []
    for name, priority in (("running", 0), ("bulk 1", 0), ("bulk 2", 0), ("urgent", 9)):
        job = Job(name, 10.0, 1, 0, priority)
        machine.at(len(ended), lambda job=job: machine.submit(job, lambda: ended.append(job.rule)))
    machine.at(0, lambda: None)
    machine.run()
    assert ended == ["urgent", "running", "bulk 1", "bulk 2"]


def test_a_process_waits_for_its_jobs_and_for_signals():
    machine = Machine(cores=4)
    happened, told = Signal(machine), []

    def process():
        yield [Job("a", 5.0, 1), Job("b", 8.0, 1)]
        told.append(machine.now_s)
        yield happened
        told.append(machine.now_s)
        yield []
        yield [Job("c", 1.0, 1)]
        told.append(machine.now_s)

    machine.process(process())
    machine.at(20.0, happened.set)
    machine.run()
    assert told == [8.0, 20.0, 21.0]


def answered(cores, *, movies=1000, every_s=6.0, **sections):
    config = load_config(sections)
    return plan(config, Costs.shipped(), Pace(movies, every_s, 200), Site(cores))


def test_few_cores_fall_behind_many_keep_up_and_the_need_is_in_between():
    few, many = answered(2), answered(64)
    assert not few.keeps_up
    assert few.bottleneck == "cores"
    assert many.keeps_up
    assert many.bottleneck is None
    assert 2 < few.cores_needed == many.cores_needed < 64
    assert answered(many.cores_needed).keeps_up
    assert not answered(many.cores_needed - 2).keeps_up


def test_the_pace_bounds_from_below_when_things_come():
    answer = answered(512, compute={"threads": 8})
    config = Config()
    needed = config.milestones.training_micrographs / 0.85 * 6.0
    assert needed < answer.reached["picker trained"] < needed + 1200
    order = ["picker trained", "2D classes of 25,000", "volume of 25,000", "map of 25,000"]
    times = [answer.reached[name] for name in order]
    assert times == sorted(times)
    # the last round takes all particles there are
    assert f"map of {1000 * 0.85 * 200:,.0f}" in answer.reached


def test_a_session_goes_no_further_than_it_is_to():
    assert "picker trained" not in answered(64, workflow={"until": "curation"}).reached
    picking = answered(64, workflow={"until": "picking"})
    assert {step.rule for step in picking.steps} >= {"pick", "train_picker"}
    assert "extract" not in {step.rule for step in picking.steps}
    class2d = answered(64, workflow={"until": "class2d"})
    assert any(name.startswith("2D classes") for name in class2d.reached)
    assert not any(name.startswith("volume") for name in class2d.reached)


def test_every_movie_is_processed_once_and_batches_grow_when_behind():
    chain = Chain(Config(), Costs.shipped(), Pace(700, 1.0, 200), Site(4))
    outcome = chain.run()
    numbers = sorted(number for batch in chain.batches for number in batch.movies)
    assert numbers == list(range(700))
    assert min(outcome.processed_s) > 0
    assert all(p > a for p, a in zip(outcome.processed_s, outcome.arrived_s, strict=True))
    sizes = {len(batch.movies) for batch in chain.batches}
    assert max(sizes) == 60
    fast = Chain(Config(), Costs.shipped(), Pace(200, 6.0, 200), Site(512))
    fast.run()
    assert {len(batch.movies) for batch in fast.batches} == {20}


def test_small_movies_cost_less():
    small = MovieSize(frames=16, height_px=1024, width_px=1024)
    pace, site = Pace(400, 6.0, 200), Site(4)
    config = load_config({"workflow": {"until": "curation"}})
    large = plan(config, Costs.shipped(), pace, site)
    assert plan(config, Costs.shipped(), pace, site, small).core_use < 0.3 * large.core_use


def test_gpus_are_planned_with_only_where_they_were_timed(tmp_path):
    without = plan(Config(), Costs.shipped(), Pace(400, 6.0, 200), Site(16, gpus=4))
    assert "preprocess" in without.unmeasured
    assert without.gpu_use is None
    session = recorded(
        tmp_path, [("preprocess", {"batch": f"b{i:05d}"}, 20, 60.0) for i in range(3)]
    )
    costs = measured_costs(session)
    assert costs.duration_s("preprocess", 20, threads=2, gpu=True) == pytest.approx(60.0, rel=0.05)
    answer = plan(Config(), costs, Pace(400, 6.0, 200), Site(16, gpus=4))
    assert "preprocess" not in answer.unmeasured
    assert "refine" in answer.unmeasured
    assert 0.3 < answer.gpu_use * 4 < 0.7  # 60 s of a GPU for 20 movies in 120 s
    assert answer.gpus_needed == 1


def recorded(folder, jobs, *, device="cuda:0", cpu_s=9.0):
    """A session that is nothing but job records: (rule, wildcards, movies, seconds)."""
    (folder / "config.yaml").write_text("input: {path: movies}\n")
    for rule, wildcards, movies, took_s in jobs:
        record = JobRecord(rule, wildcards, 1000.0, 1000.0 + took_s, cpu_s, 900.0, 2, device)
        record.outcome, record.units = "done", {"movies": movies} if movies else {}
        name = "_".join(wildcards.values())
        write_record(record_path(folder / f"results/logs/{rule}/{name}.log"), record)
    return folder


def test_costs_are_fitted_rule_by_rule_and_say_so(tmp_path):
    jobs = [
        ("preprocess", {"batch": "b00000"}, 20, 500.0),
        ("class2d", {"particles": "500"}, 0, 50),
    ]
    costs = measured_costs(recorded(tmp_path, jobs, device="cpu", cpu_s=83.0))
    assert costs.fitted == {"preprocess", "class2d"}
    assert costs.cpu_s("preprocess", 20) == pytest.approx(83.0, rel=0.01)
    assert costs.cpu_s("preprocess", 40) == pytest.approx(163.0, rel=0.01)
    assert "times the shipped cost" in costs.source("preprocess")
    assert costs.source("refine") == COSTS["refine"].source
    assert costs.table["class2d"].memory_fixed_mb == pytest.approx(900 - 2.5)


def test_a_line_is_drawn_through_jobs_of_many_sizes(tmp_path):
    (tmp_path / "config.yaml").write_text("input: {path: movies}\n")
    for i, movies in enumerate((1, 5, 10, 20)):
        record = JobRecord("pick", {"batch": f"b{i:05d}"}, 0.0, 9.0, START_S + 10 + 3 * movies)
        record.outcome, record.units = "done", {"movies": movies}
        write_record(record_path(tmp_path / f"results/logs/pick/{i}.log"), record)
    costs = measured_costs(tmp_path)
    assert costs.cpu_s("pick", 40) == pytest.approx(START_S + 130, rel=0.01)
    assert "line" in costs.source("pick")


def test_a_session_without_records_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("input: {path: movies}\n")
    with pytest.raises(BadInputError, match="no record"):
        measured_costs(tmp_path)


def test_costs_and_priorities_know_the_rules_of_the_workflow():
    assert set(COSTS) >= GPU_RULES | set(PRIORITIES)
    assert all(cost.unit in ("movie", "particle", "session") for cost in COSTS.values())
    assert not any(cost.gpu_known for cost in COSTS.values())


def test_the_chain_has_the_priorities_of_the_workflow():
    urgent, local = {}, set()
    for path in RULES.glob("*.smk"):
        for part in re.split(r"^(?:rule|checkpoint) ", path.read_text(), flags=re.M)[1:]:
            rule = part.partition(":")[0]
            if match := re.search(r"^    priority: (\d+)", part, flags=re.M):
                urgent[rule] = int(match[1])
            if re.search(r"^    localrule: True", part, flags=re.M):
                local.add(rule)
    assert {rule: urgent.get(rule, 0) for rule in PRIORITIES} == PRIORITIES
    assert (
        not {rule for rule in urgent if rule in COSTS}
        - set(PRIORITIES)
        - {
            "session_tables",
            "report",
            "relion_folder",
        }
    )
    assert local >= LOCAL
    assert not (local & set(COSTS)) - LOCAL - {"session_tables", "report", "relion_folder"}


def test_the_command_answers_in_words_and_in_json():
    asked = ["plan", "2d", "--movies", "400", "--cores", "16", "--gpus", "1"]
    told = CliRunner().invoke(app, asked).output
    assert "It keeps up" in told
    assert "Never timed on a GPU" in told
    assert "2D classes of 25,000" in told
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).output)
    assert found["answer"]["keeps_up"] is True
    assert found["site"] == {
        "cores": 16,
        "gpus": 1,
        "start_s": 0.5,
        "scheduler": False,
        "threads": 2,
    }


def test_the_command_refuses_what_is_neither_session_nor_template():
    result = CliRunner().invoke(app, ["plan", "nothing"])
    assert result.exit_code == 1
    assert "template = nothing" in result.output
