"""The teacher's pages: every answer is evaluated, every lesson has a page, every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmdist.hardware import machine as known
from llmdist.lessons import ants, bits, counting_bytes, hiding, homes, machine, serving
from llmdist_widgets.homes import moved

TUTORIALS = Path(__file__).parents[2] / "tutorials"
PAGES = sorted((TUTORIALS / "teacher").glob("lesson*.md"))
ROOMS = {
    "ants": ants, "bits": bits, "counting_bytes": counting_bytes, "hiding": hiding, "homes": homes, "known": known,
    "machine": machine, "moved": moved, "serving": serving,
}  # fmt: skip


def test_every_lesson_has_a_page_that_names_it() -> None:
    """The number of the page is that of the notebook, and the overview links every page."""
    overview = (TUTORIALS / "teacher" / "README.md").read_text()
    notebooks = sorted(TUTORIALS.glob("lesson*.ipynb"))
    assert [page.stem for page in PAGES] == [notebook.name.split("_")[0] for notebook in notebooks]
    for page, notebook in zip(PAGES, notebooks, strict=True):
        assert f"(../{notebook.name})" in page.read_text() and f"({page.name})" in overview


def test_minutes_agree() -> None:
    """A lesson takes as long in its notebook as on its page and in the overview."""
    overview = (TUTORIALS / "teacher" / "README.md").read_text()
    for page, notebook in zip(PAGES, sorted(TUTORIALS.glob("lesson*.ipynb")), strict=True):
        (said,) = re.findall(r"\*About (\d+) minutes", notebook.read_text())
        assert f"**Time.** {said} minutes" in page.read_text()
        assert re.search(rf"\({page.name}\) \|.*\| {said} \|", overview)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_answers_are_right(page: Path) -> None:
    """An Answer has the value that stands behind it, a Check says Right."""
    names = dict(ROOMS)
    text = page.read_text()
    if "judge" in text:
        names["judge"] = bits.judge()
    for expression, value in re.findall(r"^Answer: `(.+)` = (.+)$", text, flags=re.MULTILINE):
        assert eval(expression, names) == float(value), expression
    for expression in re.findall(r"^Check: `(.+)`$", text, flags=re.MULTILINE):
        verdict = eval(expression, names)
        assert verdict, f"{expression}: {verdict}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_all_parts(page: Path) -> None:
    """Goal, time, preparation, what goes wrong, questions and answers, on one short page."""
    text = page.read_text()
    for part in ("**Goal.**", "**Time.**", "**Prepare.**", "## What goes wrong", "## Questions", "## Answers"):
        assert part in text
    assert len(text.splitlines()) <= 60
