"""The page about inputs: its code prints what it says, and its words are those that are known."""

import contextlib
import io
import re
from pathlib import Path

from lightning_invariant.groups import parse_group
from lightning_invariant.groups.actions.rules import read_word, vocabulary

PAGE = (Path(__file__).parents[3] / "docs" / "inputs.md").read_text(encoding="utf-8")


def test_the_code_prints_what_the_page_says():
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
    expected = [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code, {})
    assert output.getvalue().splitlines() == expected
    assert len(expected) == 8


def test_every_word_is_in_the_table_and_the_other_way_round():
    known = set().union(*(vocabulary(parse_group(g)) for g in ("C4", "SO3", "S6", "E3", "T8", "Z2^3")))
    rows = re.findall(r"^\| (`.*?) \|", PAGE.split("## Rules")[1].split("\n## ")[0], flags=re.MULTILINE)
    told = {
        read_word(word)[0] if "axis=k" not in word else "signal" for row in rows for word in re.findall("`(.*?)`", row)
    }
    told |= {f"volume about {axis}" for axis in ("height", "width")}
    assert told - {"height", "width"} == known - {"signs"}
