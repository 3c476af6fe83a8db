from workers.generation.speed import SpeedMeter


def test_the_rate_is_of_the_time_since_the_last_reading():
    now = [100.0]
    meter = SpeedMeter(lambda: now[0])
    assert meter.read(0) == 0.0
    now[0] += 5
    assert meter.read(40) == 8.0
    now[0] += 5
    assert meter.read(40) == 0.0
    now[0] += 2
    assert meter.read(41) == 0.5
