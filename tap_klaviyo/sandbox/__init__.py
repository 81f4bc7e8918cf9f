"""A small Klaviyo on loopback, with data made from a seed; for tests, benchmarks, and for trying the tap.

    with Sandbox(Account.build(events=2000, seed=1)) as sandbox:
        requests.get(f"{sandbox.url}/api/metrics", headers=…)

It shares no code with the tap, so that neither can hide the other's mistakes.
"""

from tap_klaviyo.sandbox import wire
from tap_klaviyo.sandbox.account import Account
from tap_klaviyo.sandbox.api import API_KEY, Api, refusal_reply
from tap_klaviyo.sandbox.endpoints import ENDPOINTS, SCOPES, Endpoint, find_endpoints
from tap_klaviyo.sandbox.faults import PASSING, Fault, Schedule, error_status, fail_first, seeded_faults, time_out_above
from tap_klaviyo.sandbox.limits import Limits
from tap_klaviyo.sandbox.metrics import STREAMS as CORE_STREAMS
from tap_klaviyo.sandbox.oauth import OAuth
from tap_klaviyo.sandbox.refusals import RefusalError
from tap_klaviyo.sandbox.server import Sandbox
from tap_klaviyo.sandbox.timeline import Timeline
from tap_klaviyo.sandbox.traffic import Exchange, Reply, Request

__all__ = [
    "API_KEY",
    "CORE_STREAMS",
    "ENDPOINTS",
    "PASSING",
    "SCOPES",
    "Account",
    "Api",
    "Endpoint",
    "Exchange",
    "Fault",
    "Limits",
    "OAuth",
    "RefusalError",
    "Reply",
    "Request",
    "Sandbox",
    "Schedule",
    "Timeline",
    "error_status",
    "fail_first",
    "find_endpoints",
    "refusal_reply",
    "seeded_faults",
    "time_out_above",
    "wire",
]
