"""Event files beside a run, read back by the format's own definition."""

import struct

import pytest
from tensorboardX.proto.event_pb2 import Event

from tests.workers.finetuning.conftest import Recorder
from workers.finetuning.wishes import InterruptedRunError


def read_events(folder):
    """TFRecords: a length, its checksum, the bytes, their checksum."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            yield Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size


def figures(folder, name):
    return {
        event.step: value.simple_value
        for event in read_events(folder)
        for value in event.summary.value
        if value.tag == name
    }


def test_the_figures_of_a_run_are_in_its_event_files(tiny_gpt2_folder, make_spec, run, tmp_path):
    logs = tmp_path / "logs"
    recorder = run(make_spec(tiny_gpt2_folder, tensorboard_dir=str(logs)))
    assert figures(logs, "loss/train") == pytest.approx(recorder.losses)
    validation = {one["step"]: one["loss"] for one in recorder.of("evaluated")}
    assert figures(logs, "loss/validation") == pytest.approx(validation)
    assert len(figures(logs, "train/learning_rate")) == 6


def test_a_run_that_goes_on_marks_what_it_does_again(tiny_gpt2_folder, make_spec, run, tmp_path):
    spec = make_spec(tiny_gpt2_folder, tensorboard_dir=str(tmp_path / "logs"))
    with pytest.raises(InterruptedRunError):
        run(spec, Recorder(at_step=4))
    run(spec)
    starts = [e.step for e in read_events(tmp_path / "logs") if e.HasField("session_log")]
    assert starts == [5]
    assert sorted(figures(tmp_path / "logs", "loss/train")) == [1, 2, 3, 4, 5, 6]
