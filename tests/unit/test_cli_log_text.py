"""The command line's readable forms of what a log knows: its table and its timeline."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_messaging import LoggedEvent, MessageType, RunRecord
from agent_messaging._cli_log_text import Table, timeline
from agent_messaging.eventlog._sqlite_reader import ListedRun
from support.listed_runs import logged


def listed(
    run_id: str = "0123456789abcdef",
    user_id: str = "ann",
    thread_id: str = "t1",
    *,
    first_seq: int = 1,
    claimed_at: float = 1000.0,
    took: float | None = None,
) -> ListedRun:
    record = RunRecord(
        run_id=run_id,
        thread_id=thread_id,
        message_id="m1",
        digest="d",
        status="running" if took is None else "completed",
        first_seq=first_seq,
        last_seq=12,
    )
    return ListedRun(
        user_id, record, "owner", claimed_at, None if took is None else claimed_at + took
    )


def rows_of(*runs: ListedRun, width: int | None = None) -> list[str]:
    return list(Table(width).rows(runs))


# The table.


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    header, *rows = rows_of(listed(user_id="a user"), listed(thread_id="a longer thread"))
    assert header[17:] == ("user    thread           run               status     events     took")
    assert [row[17:] for row in rows] == [
        "a user  t1               0123456789abcdef  running        12        -",
        "ann     a longer thread  0123456789abcdef  running        12        -",
    ]


def test_rows_that_come_later_have_no_header_and_no_narrower_columns() -> None:
    table = Table(None)
    _, first = table.rows([listed(user_id="a user")])
    (second,) = table.rows([listed(user_id="ann")])
    assert first.index("t1") == second.index("t1")


def test_on_a_terminal_ids_of_runs_are_as_long_as_tells_them_apart() -> None:
    alike = [listed("run-00000001"), listed("run-00000002"), listed("run-00000002", "bob")]
    shown = [row.split()[5] for row in rows_of(*alike, width=80)[1:]]
    assert shown == ["run-00000001", "run-00000002", "run-00000002"]
    assert rows_of(listed(), width=80)[1].split()[5] == "01234567"


@pytest.mark.parametrize(
    ("user_id", "thread_id", "shown"),
    [
        ("u" * 40, "t" * 40, ["uuuuuuuuuu~", "ttttttttttt~"]),
        ("ann", "t" * 40, ["ann", "t" * 18 + "~"]),
        ("u" * 40, "t1", ["u" * 16 + "~", "t1"]),
        ("u" * 11, "t" * 12, ["u" * 11, "t" * 12]),
    ],
)
def test_on_a_terminal_long_ids_are_cut_to_fit(
    user_id: str, thread_id: str, shown: list[str]
) -> None:
    header, row = rows_of(listed(user_id=user_id, thread_id=thread_id, took=1.0), width=80)
    assert len(header) == len(row) == 80
    assert row.split()[3:5] == shown


def test_where_no_room_is_left_ids_of_runs_are_cut_too() -> None:
    alike = [listed("r" * 60 + str(number), "u" * 40, "t" * 40) for number in range(2)]
    rows = rows_of(*alike, width=80)
    assert {len(row) for row in rows} == {80}
    assert rows[1].split()[3:5] == ["uuuuu~", "ttttt~"]
    assert rows[1].split()[5].startswith("rrrrrrrr")


def test_characters_that_are_wide_or_take_no_room_are_counted_as_such() -> None:
    ids = ["\u6771\u4eac\u6771\u4eac\u6771\u4eac", "e\u0301e\u0301", "plain"]
    rows = rows_of(*[listed(user_id=user_id) for user_id in ids])[1:]
    assert [row.index("t1") - 17 for row in rows] == [12 + 2 - 6, 12 + 2 + 2, 12 + 2]
    cut = rows_of(listed(user_id="\u6771" * 40, thread_id="\u6771" * 40), width=80)[1]
    assert cut.count("~") == 2
    assert len(cut) + cut.count("\u6771") <= 80


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 ms"),
        (0.0126, "13 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1m 00s"),
        (3599.4, "59m 59s"),
        (3599.6, "1h 00m"),
        (86399.0, "23h 59m"),
        (90000.0, "1d 01h"),
        (-5.0, "-5000 ms"),
        (float("inf"), "inf"),
    ],
)
def test_how_long_a_run_took_is_said_in_the_largest_units(seconds: float, shown: str) -> None:
    assert rows_of(listed(took=seconds))[1].endswith(f"  {shown}")


@pytest.mark.parametrize("claimed_at", [1e18, -1e18, float("nan")])
def test_a_time_that_no_calendar_has_is_shown_as_it_is(claimed_at: float) -> None:
    run = listed(claimed_at=claimed_at)
    assert rows_of(run)[1].startswith(f"{claimed_at}  ")
    assert f"claimed  {claimed_at}" in timeline(run, ())


# The timeline.


def lines_of(*events: LoggedEvent, first_seq: int = 1) -> list[str]:
    """The lines behind the run's own, without the white space before them."""
    lines = list(timeline(listed(first_seq=first_seq), events))
    return [line.strip() for line in lines[lines.index("") + 1 :]]


def executing(tool_call_id: str) -> tuple[str, str]:
    return "tool_executing", f'{{"tool_call_id":"{tool_call_id}","tool_name":"add"}}'


def completed(tool_call_id: str) -> tuple[str, str]:
    return (
        "tool_completed",
        f'{{"tool_call_id":"{tool_call_id}","tool_name":"add","status":"ok","result":3}}',
    )


def test_the_call_of_a_tool_and_its_end_have_one_number() -> None:
    events = logged(executing("a"), executing("b"), completed("a"), executing("c"), completed("b"))
    assert lines_of(*events) == [
        "1     +0.000  tool_executing #1 add",
        "2     +1.000  tool_executing #2 add",
        "3     +2.000  tool_completed #1 add ok 3",
        "4     +3.000  tool_executing #3 add",
        "5     +4.000  tool_completed #2 add ok 3",
        "The tool #3 add is under way.",
    ]


def test_of_a_run_whose_first_events_are_gone_that_is_said() -> None:
    first, second = logged(("agent_thinking", '{"text":"on"}'), completed("a"))
    kept = [first._replace(seq=8), second._replace(seq=9)]
    assert lines_of(*kept, first_seq=8) == [
        "The events 1 to 7 are not kept any more.",
        "8     +0.000  agent_thinking on",
        "9     +1.000  tool_completed add ok 3",
    ]
    assert lines_of(first_seq=13) == ["The events 1 to 12 are not kept any more."]


def chunk(text: str) -> tuple[str, str]:
    return "agent_response_chunk", f'{{"text":"{text}"}}'


def test_pieces_of_an_answer_are_one_line_until_something_else_comes() -> None:
    thinking = ("agent_thinking", '{"text":"hm"}')
    other = ("agent_response_chunk", '{"piece":1}')
    events = logged(chunk("a "), chunk("b"), chunk("c"), thinking, chunk("d"), other, chunk("e"))
    assert lines_of(*events) == [
        '1-3     +0.000  agent_response_chunk "a bc"',
        "4     +3.000  agent_thinking hm",
        '5     +4.000  agent_response_chunk "d"',
        '6     +5.000  agent_response_chunk {"piece": 1}',
        '7     +6.000  agent_response_chunk "e"',
    ]


def test_pieces_of_a_very_long_answer_are_several_lines() -> None:
    lines = lines_of(*logged(*[chunk("x" * 100)] * 100))
    assert [line.split()[0] for line in lines] == ["1-40", "41-80", "81-100"]


@pytest.mark.parametrize("payload", ["[1]", "null", "{broken", "[" * 100_000, "\x1b[31m"])
def test_what_is_no_payload_of_an_event_is_shown_as_it_is(payload: str) -> None:
    (line,) = lines_of(LoggedEvent(MessageType.AGENT_PROGRESS, payload, 1, 1.0))
    assert line.startswith('1     +0.000  agent_progress {"payload": "')


def test_a_clock_that_was_set_back_shows_in_the_times() -> None:
    first, second = logged(("agent_thinking", "{}"), ("agent_thinking", "{}"))
    lines = lines_of(first, second._replace(timestamp=first.timestamp - 2.5))
    assert lines == ["1     +0.000  agent_thinking", "2     -2.500  agent_thinking"]


@given(st.lists(st.text(), min_size=1), st.sampled_from([None, 80]))
def test_no_id_makes_a_row_of_two_lines(ids: list[str], width: int | None) -> None:
    runs = [listed(text, text, text) for text in ids]
    rows = rows_of(*runs, width=width)
    assert len(rows) == len(ids) + 1
    assert all(row.isprintable() for row in rows)
