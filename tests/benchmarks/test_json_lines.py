"""What is kept of hours of runs."""

from pathlib import Path

from benchmarks.json_lines import JsonLines


def test_what_was_added_is_there_in_order(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "deep" / "runs.jsonl")
    assert lines.all() == []
    for number in range(3):
        lines.add({"number": number})

    assert [document["number"] for document in JsonLines(tmp_path / "deep" / "runs.jsonl").all()] == [0, 1, 2]


def test_a_line_that_was_cut_off_does_not_count_and_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text('{"number": 0}\n{"number": 1')
    lines = JsonLines(file)

    assert lines.all() == [{"number": 0}]
    lines.add({"number": 2})
    assert lines.all() == [{"number": 0}, {"number": 2}]


def test_a_file_of_nothing_but_a_piece_is_begun_again(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text('{"numb')
    JsonLines(file).add({"number": 0})

    assert JsonLines(file).all() == [{"number": 0}]


def test_others_take_the_place_of_all(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "runs.jsonl")
    lines.replace([])  # nothing to replace is no error
    lines.add({"number": 0})
    lines.replace([{"number": 1}, {"number": 2}])
    assert lines.all() == [{"number": 1}, {"number": 2}]
    lines.remove()
    lines.remove()
    assert lines.all() == []
