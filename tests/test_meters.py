"""The meters: what a scrape says after some calls."""

from prometheus_client.parser import text_string_to_metric_families

from tutelage.serving.meters import Meters
from tutelage.serving.student import Answer


def test_counts_times_and_states() -> None:
    running = [3.0]
    meters = Meters(lambda: running[0], lambda: 2, lambda: 1)
    usage = {"prompt_tokens": 40, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 30}}
    for _ in range(2):
        meters.answered("s@1", Answer({}, usage, -0.1, -0.2, "stop", 0.02, 0.3), 0.004, 0.33)
    meters.failed("s@1", "invalid_output")
    running[0] = 4.0
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(meters.page().decode())
        for sample in family.samples
    }
    assert samples["tutelage_student_answers_total", ("code", "ok"), ("model", "s@1")] == 2
    assert samples["tutelage_student_answers_total", ("code", "invalid_output"), ("model", "s@1")] == 1
    for direction, count in {"prompt": 80, "completion": 16, "cached": 60}.items():
        assert samples["tutelage_student_tokens_total", ("direction", direction), ("model", "s@1")] == count
    assert samples["tutelage_student_queue_seconds_bucket", ("le", "0.005")] == 2
    assert samples["tutelage_student_prefill_seconds_bucket", ("le", "0.01")] == 0
    assert samples["tutelage_student_answer_seconds_count",] == 2
    assert samples["tutelage_student_running",] == 4
    assert samples["tutelage_student_waiting",] == 2
