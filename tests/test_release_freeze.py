"""Freeze windows: the times without promotions, in the time zone of the people who rest then."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from gli.common.errors import UsageError
from gli.config import environments
from gli.config.parts import Freeze
from gli.release.freeze import frozen, says

WEEKEND = Freeze(reason="nobody is there", begins="Fri 17:00", ends="Mon 09:00", timezone="Asia/Seoul")
LUNCH = Freeze(reason="lunch", begins="Wed 12:00", ends="Wed 13:00", timezone="Europe/Berlin")
HOLIDAY = Freeze(reason="Seollal", begins="2026-02-14 00:00", ends="2026-02-19 09:00", timezone="Asia/Seoul")


@pytest.mark.parametrize(
    ("window", "moment", "held"),
    [
        (WEEKEND, "2026-01-30T16:59:59+09:00", False),
        (WEEKEND, "2026-01-30T17:00:00+09:00", True),
        (WEEKEND, "2026-01-30T08:00:00+00:00", True),  # the same time, written in UTC
        (WEEKEND, "2026-02-01T23:59:59+09:00", True),
        (WEEKEND, "2026-02-02T08:59:59+09:00", True),  # over the end of the week
        (WEEKEND, "2026-02-02T09:00:00+09:00", False),
        (WEEKEND, "2026-02-04T12:00:00+09:00", False),
        (LUNCH, "2026-01-07T11:30:00+00:00", True),  # 12:30 in winter
        (LUNCH, "2026-07-01T11:30:00+00:00", False),  # 13:30 in summer
        (LUNCH, "2026-07-01T10:30:00+00:00", True),
        (HOLIDAY, "2026-02-13T14:59:59+00:00", False),
        (HOLIDAY, "2026-02-13T15:00:00+00:00", True),
        (HOLIDAY, "2026-02-19T08:59:59+09:00", True),
        (HOLIDAY, "2026-02-19T09:00:00+09:00", False),
        (HOLIDAY, "2027-02-15T09:00:00+09:00", False),
    ],
)
def test_a_window_includes_its_start_and_excludes_its_end(window: Freeze, moment: str, held: bool) -> None:
    assert frozen([window], datetime.fromisoformat(moment)) == (window if held else None)


def test_the_first_active_window_gives_the_reason() -> None:
    open_ = frozen([LUNCH, HOLIDAY, WEEKEND], datetime.fromisoformat("2026-02-15T12:00:00+09:00"))
    assert open_ is HOLIDAY
    assert says(HOLIDAY) == "frozen from 2026-02-14 00:00 to 2026-02-19 09:00 (Asia/Seoul): Seollal"
    assert frozen([], datetime.fromisoformat("2026-02-15T12:00:00+09:00")) is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"begins": "Friday 17:00"}, "[own.git.freeze.0] begins = 'Friday 17:00' should"),
        ({"begins": "Fri 24:00"}, "[own.git.freeze.0] begins = 'Fri 24:00' should"),
        ({"begins": "2026-02-14 00:00"}, "both of the week or both with a date"),
        ({"begins": "Mon 09:00"}, "two different moments"),
        ({"begins": "2026-02-31 00:00", "ends": "2026-03-01 00:00"}, "day is out of range"),
        ({"begins": "2026-03-02 00:00", "ends": "2026-03-01 00:00"}, "begins is after ends"),
        ({"timezone": "Asia/Soul"}, "[own.git.freeze.0] timezone = 'Asia/Soul' should be a name of the IANA"),
    ],
)
def test_an_invalid_window_is_one_sentence(tmp_path: Path, change: dict[str, str], sentence: str) -> None:
    keys = {"reason": "nobody is there", "begins": "Fri 17:00", "ends": "Mon 09:00"} | change
    window = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
    text = f'[own]\nbranch = "stg"\ngit.remote = "x/{{repository}}"\n[[own.git.freeze]]\n{window}'
    (tmp_path / environments.FILE).write_text(text)
    with pytest.raises(UsageError) as raised:
        environments.load(tmp_path, "own")
    assert sentence in str(raised.value)
