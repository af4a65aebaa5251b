from __future__ import annotations

from hardtemper.bench.data.tally import Tally


def test_reasons_with_their_counts_most_frequent_first() -> None:
    tally = Tally()
    assert (str(tally), tally.total) == ("", 0)
    tally.add("hidden")
    tally.add("ending in .txt", 3)
    tally.add("a link to nothing")
    assert (str(tally), tally.total) == ("3 ending in .txt, 1 a link to nothing, 1 hidden", 5)


def test_many_reasons_are_added_up() -> None:
    tally = Tally()
    for number in range(100):
        tally.add(f"ending in .{number:03d}")
    assert str(tally).count("ending in") == 8
    assert str(tally).endswith(", 92 others")


def test_reasons_are_printable() -> None:
    tally = Tally()
    tally.add("ending in .\x1b[2J\udcff")
    assert str(tally) == "1 ending in .\\x1b[2J\\udcff"
