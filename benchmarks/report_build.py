"""Time and size of the report at 1,000 and 20,000 movies: `python benchmarks/report_build.py`."""

import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from report_picking_session import write_picking  # noqa: E402
from report_session import fabricated_tables, write_pictures  # noqa: E402

from cryosnake.config.model import Config  # noqa: E402
from cryosnake.report import gallery, write_report  # noqa: E402
from cryosnake.report.table import prepared  # noqa: E402


def main() -> None:
    config = Config()
    print(
        "movies  decisions  seconds  MB   (24 + 24 micrographs with their CTF pictures of 512 px,"
        " 8 with picks)"
    )
    for movies in (1000, 20000):
        table, decisions = fabricated_tables(movies)
        table_of_report = prepared(table)
        shown = [
            gallery.chosen_accepted(table_of_report, config.report.gallery),
            gallery.chosen_rejected(table_of_report, config.report.gallery),
        ]
        # as many decisions as the filters of a real session give
        decisions = pd.concat([decisions] * 5, ignore_index=True)
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder)
            write_pictures(pd.concat(shown), results)
            write_picking(table, results)
            started = time.perf_counter()
            write_report(
                results / "report.html",
                micrographs=table,
                decisions=decisions,
                config=config,
                batches_seen=movies // 20,
                batches_pending=0,
                milestones=[("size", 100, 100), ("training", 250, 250)],
                results_dir=results,
            )
            seconds = time.perf_counter() - started
            size_mb = (results / "report.html").stat().st_size / 1e6
        print(f"{movies:6d}  {len(decisions):9d}  {seconds:7.2f}  {size_mb:.2f}")


if __name__ == "__main__":
    main()
