from datetime import UTC, datetime, timedelta

from contract import keys

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_listing_the_index_lists_the_newest_job_first() -> None:
    times = [NOON, NOON + timedelta(milliseconds=1), NOON + timedelta(days=9000)]
    listed = sorted(keys.index(time, f"job-{number}") for number, time in enumerate(times))
    assert [keys.indexed(key) for key in listed] == ["job-2", "job-1", "job-0"]


def test_key_of_a_job_in_an_old_form_survives_the_index() -> None:
    assert keys.indexed(keys.index(NOON, "id%2F1~0123456789ab")) == "id%2F1~0123456789ab"
