"""What the tests of reports share: an account, its time zone, and which periods a run asked for."""

from __future__ import annotations

import json
from datetime import datetime
from zoneinfo import ZoneInfo

from tap_klaviyo.sandbox import Account, Request, Sandbox
from tap_klaviyo.streams.model import Report
from tap_klaviyo.streams.table import BY_NAME, STREAMS
from tests.running import Run

ACCOUNT = Account.build(events=1500, seed=3)
# The account's time zone in the sandbox: its clocks went back on 2026-11-01.
ZONE = ZoneInfo("US/Eastern")
NOW = datetime.fromtimestamp(ACCOUNT.now, ZONE)
SINCE = "2026-08-15"
# The bounds of the months from SINCE to NOW.
MONTHS = ["2026-08-01T00:00:00-04:00", "2026-09-01T00:00:00-04:00", "2026-10-01T00:00:00-04:00"]
MONTHS += ["2026-11-01T00:00:00-04:00", "2026-12-01T00:00:00-05:00"]
GROUP = [stream.name for stream in STREAMS if stream.group == "reports"]
REPORTS = [stream.name for stream in STREAMS if isinstance(stream.split, Report)]


def asked(sandbox: Sandbox, report: str) -> list[tuple[str, str]]:
    """Return the bounds of the requests for a report, in the order that they came in."""
    path = BY_NAME[report].endpoint.path
    bodies = [json.loads(each.body) for each in sandbox.requests if each.path == path]
    frames = [body["data"]["attributes"]["timeframe"] for body in bodies]
    return [(frame["start"][:10], frame["end"][:10]) for frame in frames]


def starts_of(run: Run, stream: str) -> list[str]:
    """Return the starts of the periods that a run has rows for, in their order."""
    return list(dict.fromkeys(record["period_start"] for record in run.records(stream)))


def keys_of(run: Run, stream: str) -> set[tuple[str, ...]]:
    """Return the keys of a stream's rows."""
    return {tuple(record[name] for name in BY_NAME[stream].key) for record in run.records(stream)}


def is_about_september(request: Request) -> bool:
    """Return whether a request is for the figures from September 2026 on."""
    return b'"start":"2026-09-01' in request.body
