import json

from benchmarks.quotient import main


def test_the_quick_table_holds_every_part(tmp_path):
    assert main(["--quick", "--out", str(tmp_path), "--json", str(tmp_path / "numbers.json")]) == 0
    text = (tmp_path / "quotient.md").read_text()
    assert "| C8: 64 regular | all elements | yes | 1000 |" in text
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert all(row[4] > 0 for row in numbers["Alignments of random latents"])
    assert all(row[5] == 1.0 for row in numbers["Alignments of random latents"])
    assert len({row[0] for row in numbers["Cost along the sizes"]}) == 6
