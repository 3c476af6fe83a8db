import pytest

from cli.up.log_tail import LogTail, is_serious, shorten


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2026-01-01T00:00:00Z [warning  ] broker_unreachable [core] error=X", True),
        ("2026-01-01T00:00:00Z [error    ] boom", True),
        ("2026-01-01T00:00:00Z [info     ] listening", False),
        ('{"event": "boom", "level": "error"}', True),
        ('{"event": "fine", "level": "info"}', False),
        ("123:M 01 Jan 2026 10:00:00.123 # Can't save in background: fork", True),
        ("123:M 01 Jan 2026 10:00:00.123 * Ready to accept connections tcp", False),
        ("123:M 01 Jan 2026 10:00:00.123 # WARNING Memory overcommit must be enabled!", False),
    ],
)
def test_warnings_and_errors_are_serious(line, expected):
    assert is_serious(line) is expected


def test_only_what_is_new_is_read_and_half_lines_wait(tmp_path):
    file = tmp_path / "x.log"
    file.write_text("[error] of an older run\n")
    tail = LogTail(file)
    assert tail.new_warnings() == []
    with file.open("a") as log:
        log.write("[error] one\n[error] tw")
    assert tail.new_warnings() == ["[error] one"]
    with file.open("a") as log:
        log.write("o\n")
    assert tail.new_warnings() == ["[error] two"]


def test_a_file_that_was_replaced_is_read_from_its_beginning(tmp_path):
    file = tmp_path / "x.log"
    file.write_text("long and long ago\n" * 10)
    tail = LogTail(file)
    file.write_text("[error] new\n")
    assert tail.new_warnings() == ["[error] new"]
    file.unlink()
    assert tail.new_warnings() == []


def test_a_flood_is_cut_and_counted(tmp_path):
    file = tmp_path / "x.log"
    tail = LogTail(file)
    file.write_text("[error] again\n" * 12)
    lines = tail.new_warnings()
    assert len(lines) == 6
    assert lines[-1].startswith("… and 7 more")


def test_an_outage_of_redis_is_one_line_a_minute_however_many_parts_notice_it(tmp_path):
    clock = [0.0]
    file = tmp_path / "x.log"
    tail = LogTail(file, now=lambda: clock[0])
    lost = (
        "2026-01-01T00:00:00.1Z [warning  ] consumer: Connection to broker lost. [celery]\n"
        "2026-01-01T00:00:00.2Z [error    ] consumer: Cannot connect to redis://:**@h: refused.\n"
        "2026-01-01T00:00:00.3Z [warning  ] stream_unreachable    [core] error=X process=generate\n"
    )
    file.write_text(lost + "2026-01-01T00:00:01Z [error    ] boom [core]\n")
    lines = tail.new_warnings()
    assert lines == ["warning: consumer: Connection to broker lost. [celery]", "error: boom [core]"]
    clock[0] = 59.0
    file.write_text(file.read_text() + lost)
    assert tail.new_warnings() == []
    clock[0] = 61.0
    file.write_text(file.read_text() + lost)
    assert len(tail.new_warnings()) == 1


def test_the_console_repeats_neither_time_nor_process():
    line = "2026-01-01T00:00:00.123456Z [warning  ] slow      [core.x] process=bot"
    assert shorten(line) == "warning: slow [core.x]"
    assert shorten("traceback of something") == "traceback of something"


def test_a_line_cannot_steer_the_terminal():
    assert shorten("a\x1b[2Jb\tc") == "a [2Jb c"
    assert len(shorten("x" * 1000)) == 300
