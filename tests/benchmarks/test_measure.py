import json

import pytest

from benchmarks import measure


def test_tasks_take_turns_after_a_warm_up():
    order = []
    tasks = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = measure.interleave(tasks, repeats=3, warmup=1, rest=0)
    assert order == ["a", "b"] * 4
    assert all(len(timing["seconds"]) == len(timing["cpu_seconds"]) == 3 for timing in timings.values())


def test_ratios_are_of_turns():
    ours = {"seconds": [1.0, 2.0, 10.0], "cpu_seconds": [2.0, 4.0, 3.0]}
    theirs = {"seconds": [2.0, 4.0, 20.0], "cpu_seconds": [6.0, 12.0, 9.0]}
    assert measure.median(ours) == 2 and measure.median(ours, "cpu_seconds") == 3
    assert measure.ratio(ours, theirs) == 2 and measure.ratio(ours, theirs, "cpu_seconds") == 3


def test_results_are_written_where_a_file_is_named(tmp_path):
    flags = measure.parser("A benchmark.").parse_args([f"--output={tmp_path}/results/a.json", "--smoke"])
    assert flags.smoke and flags.repeats == 9
    measure.write({"seconds": [1.5]}, flags.output)
    assert json.loads((tmp_path / "results/a.json").read_text()) == {"seconds": [1.5]}
    measure.write({"seconds": [1.5]}, None)


def test_a_flag_takes_several_names_or_numbers(capsys):
    flags = measure.parser("A benchmark.")
    flags.add_argument("--models", type=measure.several(("a", "b")), default="a")
    flags.add_argument("--batches", type=measure.numbers, default="1,64")
    options = flags.parse_args(["--models=b,a"])
    assert options.models == ["b", "a"] and options.batches == [1, 64]
    for flag, message in (
        ("--models=a,c,d", "argument --models: unknown c, d; choose of a, b"),
        ("--batches=1,0", "argument --batches: '1,0' is not a list of positive whole numbers, such as 1,64"),
        ("--batches=1,", "argument --batches: '1,' is not a list of positive whole numbers"),
    ):
        with pytest.raises(SystemExit):
            flags.parse_args([flag])
        assert message in capsys.readouterr().err


def test_a_table_has_text_on_the_left_and_numbers_on_the_right():
    rows = [("what", "rate", "ratio", "n"), ("ours", 12345.6, 2.0, 1000), ("theirs", 0.12345, None, 7)]
    assert measure.table(rows).splitlines() == [
        "what      rate  ratio      n",
        "ours    12,346      2  1,000",
        "theirs   0.123      -      7",
    ]


def test_a_table_of_uneven_rows_is_an_error():
    with pytest.raises(ValueError):
        measure.table([("a", "b"), ("c",)])
