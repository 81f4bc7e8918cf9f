"""A small Klaviyo on loopback, with data made from a seed; for tests, benchmarks, and for trying the tap.

    with Sandbox(Account.build(events=2000, seed=1)) as sandbox:
        requests.get(f"{sandbox.url}/api/metrics", headers=…)

It shares no code with the tap, so that neither can hide the other's mistakes.
"""

from tap_klaviyo.sandbox.account import Account
from tap_klaviyo.sandbox.endpoints import ENDPOINTS, SCOPES, Endpoint
from tap_klaviyo.sandbox.faults import Fault
from tap_klaviyo.sandbox.oauth import OAuth
from tap_klaviyo.sandbox.server import Sandbox
from tap_klaviyo.sandbox.traffic import Exchange, Request

__all__ = ["ENDPOINTS", "SCOPES", "Account", "Endpoint", "Exchange", "Fault", "OAuth", "Request", "Sandbox"]
