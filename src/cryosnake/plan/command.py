"""`cryosnake plan`: does a session keep up, and when come classes, volume and map."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from cryosnake.config import load_config
from cryosnake.config.load import read_template
from cryosnake.config.model import Config
from cryosnake.errors import BadInputError
from cryosnake.plan.answer import plan
from cryosnake.plan.costs import Costs
from cryosnake.plan.fit import measured_costs
from cryosnake.plan.terms import Pace, Site
from cryosnake.plan.words import answer_in_words
from cryosnake.session.job_work import REFERENCE_MOVIE, MovieSize, movie_size
from cryosnake.session.scan import list_movies

#: Seconds that a job costs beside its own time: on this machine, and with a scheduler (a trivial
#: job of the test cluster takes 12 s).
START_S = {"local": 0.5, "slurm": 12.0}
#: Movies that are tried for their size.
_TRIED = 5


@dataclass(frozen=True)
class Question:
    """What `cryosnake plan` was asked.

    Parameters
    ----------
    what : a session's folder, or the name of a template.
    threads : of a job, in place of `compute.threads`; None: as configured.
    measured : a session whose job records tell the costs.
    scheduler : jobs go to one, not to this machine.
    """

    what: str
    pace: Pace
    cores: int
    gpus: int = 0
    threads: int | None = None
    measured: Path | None = None
    scheduler: bool = False


def ask(question: Question, *, as_json: bool = False) -> str:
    """The answer, as text for people or as JSON.

    Raises
    ------
    BadInputError : there is neither such a session nor such a template, or the measured session
        has no job records.
    """
    config, movie = _session(question.what)
    if question.threads:
        compute = config.compute.model_copy(update={"threads": question.threads})
        config = config.model_copy(update={"compute": compute})
    if config.input.kind == "particles":
        raise BadInputError(None, "input.kind = particles", "a session of movies or micrographs")
    costs = Costs.shipped() if question.measured is None else measured_costs(question.measured)
    start_s = START_S["slurm" if question.scheduler else "local"]
    site = Site(question.cores, question.gpus, start_s, question.scheduler)
    answer = plan(config, costs, question.pace, site, movie)
    if as_json:
        sources = {step.rule: costs.source(step.rule) for step in answer.steps}
        return json.dumps(
            {
                "pace": asdict(question.pace),
                "site": asdict(site) | {"threads": config.compute.threads},
                "movie": asdict(movie),
                "costs": {"origin": costs.origin, "sources": sources},
                "answer": asdict(answer),
            },
            indent=1,
        )
    return answer_in_words(
        answer,
        costs,
        question.pace,
        site,
        config.compute.threads,
        measured=question.measured is not None,
    )


def _session(what: str) -> tuple[Config, MovieSize]:
    """The configuration, and the size of the session's movies where there are some by now."""
    path = Path(what) / "config.yaml"
    if not path.is_file():
        return load_config(read_template(what)), REFERENCE_MOVIE
    config = load_config(path)
    for name in list_movies(Path(what), config).movies[:_TRIED]:
        if found := movie_size(Path(what) / name, config):
            return config, found
    return config, REFERENCE_MOVIE
