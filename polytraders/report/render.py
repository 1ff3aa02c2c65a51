"""From a run's folder to one page: the template notebook executed by papermill, the result wrapped to stand alone.

The page holds everything it needs: plotly.js once, our style and script, no link to anywhere. The executed
notebook is kept beside it, with the same figures for JupyterLab. The same run gives the same page.
"""

from __future__ import annotations

import os
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Any

from polytraders.config import home
from polytraders.errors import DamageError, PolytradersError, UsageError
from polytraders.store.log import read_log

HERE = Path(__file__).resolve().parent
TEMPLATE = "backtest.ipynb"


class ReportError(PolytradersError):
    """A template that stopped half way."""

    exit_code = 1


def reports_root() -> Path:
    """Where pages go: beside the runs in POLYTRADERS_HOME when it is set, else ./reports."""
    return home() / "reports" if os.environ.get("POLYTRADERS_HOME") else Path("reports").absolute()


def template_path(name: str = TEMPLATE) -> Path:
    """The template notebook: of the checkout, or as installed. Raises UsageError when there is none."""
    places = [HERE.parent.parent / "nbs" / "reports", Path(sys.prefix) / "share" / "polytraders" / "reports"]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise UsageError(
        f"there is no report template {name}",
        where=", ".join(map(str, places)),
        mend="run from a checkout, or install polytraders with its data files",
    )


def render(
    run_dir: Path | str,
    out_dir: Path | str | None = None,
    *,
    max_points: int | None = None,
    template: str | None = None,
) -> Path:
    """Render a run's report; returns the page, `<out_dir>/<run id>.html`.

    out_dir: default `reports_root()`. max_points, template: as in settings.ini `[report]`; default what the run's
    configuration says. Raises UsageError (no run, extras missing), DamageError (a log that is not as it was
    written), ReportError (the template failed).
    """
    run_dir = Path(run_dir).absolute()
    manifest = read_log(run_dir, allow_torn=True).manifest
    said = manifest.get("config", {}).get("report", {})
    look = {
        "max_points": max_points or said.get("max_points", 4_000),
        "template": template or said.get("template", "plotly_white"),
    }
    out = Path(out_dir).absolute() if out_dir is not None else reports_root()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="polytraders-report-") as scratch:
        executed = _execute(template_path(), Path(scratch), {"run_dir": str(run_dir), **look})
        page = _page(_body(executed), title=f"{manifest['run_mode'].upper()} {manifest['run_id']}", look=look)
        _write(out / f"{manifest['run_id']}.ipynb", executed)
    return _write(out / f"{manifest['run_id']}.html", page)


def _write(path: Path, text: str) -> Path:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
    return path


def _execute(template: Path, scratch: Path, parameters: dict[str, Any]) -> str:
    """The executed notebook as text, without what papermill adds that differs from run to run."""
    try:
        import nbformat
        import papermill
        from papermill.exceptions import PapermillExecutionError
        from traitlets.config import Config
    except ImportError:
        raise UsageError(
            "reports need papermill", mend="install the report extra: pip install 'polytraders[report]'"
        ) from None
    done = scratch / "executed.ipynb"
    try:
        papermill.execute_notebook(
            template,
            done,
            parameters,
            kernel_name="python3",
            progress_bar=False,
            log_output=False,
            config=Config({"KernelManager": {"transport": "ipc"}}),  # a socket file of ours, no open port
        )
    except PapermillExecutionError as error:
        if error.ename == "DamageError":
            raise DamageError(error.evalue) from None
        raise ReportError(
            f"cell {error.cell_index} stopped with {error.ename}: {error.evalue}",
            where=str(template),
            mend="run the template in JupyterLab with run_dir set to the run's folder to see why",
        ) from None
    notebook = nbformat.read(done, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", ()):
            cell["id"] = "parameters"  # papermill draws one
    return nbformat.writes(notebook)


def _body(executed: str) -> str:
    """The notebook's cells as HTML, without head, prompts or scripts of nbconvert's own."""
    import nbformat
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        exclude_raw=True,
    )
    body, _ = exporter.from_notebook_node(nbformat.reads(executed, as_version=4))
    return body


def _page(body: str, title: str, look: dict[str, Any]) -> str:
    from plotly.offline import get_plotlyjs

    theme = "dark" if look["template"] == "plotly_dark" else "auto"
    return (
        f'<!doctype html>\n<html lang="en" data-theme="{theme}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>\n{(HERE / 'page.css').read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        f'<nav><button id="code" type="button" aria-pressed="false">Show code</button></nav>\n<main>\n{body}\n</main>\n'
        f"<script>{get_plotlyjs()}</script>\n"
        f"<script>\n{(HERE / 'page.js').read_text(encoding='utf-8')}</script>\n</body>\n</html>\n"
    )
