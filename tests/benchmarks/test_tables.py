import json
from pathlib import Path

import pytest


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    from benchmarks import tables

    return tables


def test_a_table_says_where_and_with_what_it_was_measured(tmp_path, tables):
    path = tables.write_table(
        tmp_path / "new" / "t.md", "Title", ["a|b", "s"], [["x", 0.012345], [3, 1234.5]], "run me", ["note"]
    )
    lines = path.read_text().splitlines()
    assert lines[0] == "# Title"
    assert lines[2:6] == ["| a\\|b | s |", "| --- | --- |", "| x | 0.0123 |", "| 3 | 1234 |"]
    assert "- note" in lines
    assert "- command: `run me`" in lines
    for name in ("date", "processor", "gpu", "python", "torch"):
        assert any(line.startswith(f"- {name}: ") and len(line) > len(name) + 4 for line in lines)


def test_a_row_of_another_length_is_refused(tmp_path, tables):
    with pytest.raises(ValueError, match="Expected 2 cells"):
        tables.write_table(tmp_path / "t.md", "Title", ["a", "b"], [[1]], "run me")


def test_json_has_the_same_conditions(tmp_path, tables):
    content = json.loads(tables.write_json(tmp_path / "t.json", {"rows": [1.5]}, "run me").read_text())
    assert content["rows"] == [1.5]
    assert content["conditions"]["command"] == "run me"


def test_a_report_holds_several_tables_and_says_what_failed(tmp_path, tables):
    sections = [
        tables.Section("Fine", ["a"], [[1]], ["note"]),
        tables.Section("Broken", ["b", "c"], [[2, 3]], holds=False),
    ]
    text = tables.write_report(tmp_path / "r.md", "Title", sections, "run me").read_text()
    assert text.startswith(
        "# Title\n\n## Fine\n\n| a |\n| --- |\n| 1 |\n\n- note\n\n## Broken\n\n**This does not hold.**"
    )
    assert text.index("## Broken") < text.index("| 2 | 3 |") < text.index("- command: `run me`")
    with pytest.raises(ValueError, match="Expected 1 cells"):
        tables.write_report(tmp_path / "r.md", "Title", [tables.Section("x", ["a"], [[1, 2]])], "run me")
