"""How long whoever gave wrong passwords has to wait: by address, and for all together."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

FREE = 5
"""Wrong passwords of an address that cost nothing: people mistype."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0
"""Seconds after the first wrong password beyond those; each further one doubles them, up to the longest."""

FORGOTTEN = 3_600.0
"""Seconds after its last wrong password in which an address is remembered."""

MOST_ADDRESSES = 10_000
"""Addresses remembered, a few hundred bytes each; the oldest are forgotten, and the limit for all together still holds."""

TOGETHER, A_SECOND = 60.0, 0.5
"""Wrong passwords of all addresses together that are free, and how many more become free a second."""

NETWORK = 64
"""Leading bits by which addresses of IPv6 are told apart: whoever has one has all below them."""


@dataclass
class Wrong:
    """The wrong passwords of one address."""

    count: int
    last: float


@dataclass
class Attempts:
    """Wrong passwords given to a server."""

    clock: Callable[[], float] = time.monotonic
    by_address: OrderedDict[str, Wrong] = field(default_factory=OrderedDict)
    free: float = TOGETHER
    refilled: float = 0.0

    def wait(self, address: str) -> float:
        """Seconds until a password of this address is looked at; 0 where it is looked at now."""
        now = self.clock()
        known = self.by_address.get(network_of(address))
        if known is not None and now - known.last > FORGOTTEN:
            known = None
        beyond = 0 if known is None else known.count - FREE
        own = (
            0.0 if known is None or beyond <= 0 else known.last + min(FIRST_WAIT * 2.0 ** min(beyond - 1, 60), LONGEST_WAIT) - now
        )
        self._refill(now)
        together = 0.0 if self.free >= 1 else (1 - self.free) / A_SECOND
        return max(own, together, 0.0)

    def wrong(self, address: str) -> None:
        """Count a wrong password."""
        now, where = self.clock(), network_of(address)
        known = self.by_address.pop(where, None)
        count = 0 if known is None or now - known.last > FORGOTTEN else known.count
        self.by_address[where] = Wrong(count + 1, now)
        while len(self.by_address) > MOST_ADDRESSES:
            self.by_address.popitem(last=False)
        self._refill(now)
        self.free = max(self.free - 1, 0.0)

    def right(self, address: str) -> None:
        """Forget the wrong passwords of an address that knows one."""
        self.by_address.pop(network_of(address), None)

    def _refill(self, now: float) -> None:
        if self.refilled:
            self.free = min(self.free + (now - self.refilled) * A_SECOND, TOGETHER)
        self.refilled = now


def network_of(address: str) -> str:
    """The part of an address by which visitors are told apart."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:NETWORK]
    if isinstance(found, IPv6Address):
        plain = found.ipv4_mapped
        return str(plain) if plain is not None else str(IPv6Address(int(found) >> NETWORK << NETWORK))
    return str(found)
