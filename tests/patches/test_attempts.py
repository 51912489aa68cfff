from __future__ import annotations

import pytest

from atlas.patches.attempts import A_SECOND, FORGOTTEN, FREE, LONGEST_WAIT, MOST_ADDRESSES, TOGETHER, Attempts, network_of


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempts(clock: Clock) -> Attempts:
    return Attempts(clock)


def guess(attempts: Attempts, clock: Clock, address: str, seconds: float) -> int:
    """Guess as fast as it goes for so long; how many guesses were looked at."""
    looked, end = 0, clock.now + seconds
    while clock.now < end:
        wait = attempts.wait(address)
        if wait <= 0:
            attempts.wrong(address)
            looked += 1
            clock.now += 0.001
        else:
            clock.now += wait
    return looked


def test_who_mistypes_does_not_wait_and_who_guesses_waits_longer_each_time(attempts, clock):
    waits = []
    for _ in range(FREE + 4):
        waits.append(attempts.wait("192.0.2.1"))
        clock.now += attempts.wait("192.0.2.1")
        attempts.wrong("192.0.2.1")
    assert waits == [0.0] * (FREE + 1) + [1.0, 2.0, 4.0]


def test_a_hundred_guesses_take_hours_not_a_second(attempts, clock):
    begun = clock.now
    assert guess(attempts, clock, "192.0.2.1", 3600) < 30
    assert clock.now - begun >= 3600
    assert attempts.wait("192.0.2.1") <= LONGEST_WAIT


def test_the_right_password_ends_the_waiting(attempts, clock):
    for _ in range(FREE + 3):
        attempts.wrong("192.0.2.1")
    assert attempts.wait("192.0.2.1") > 0
    attempts.right("192.0.2.1")
    assert attempts.wait("192.0.2.1") == 0


def test_an_address_is_forgotten_after_an_hour(attempts, clock):
    for _ in range(FREE + 3):
        attempts.wrong("192.0.2.1")
    clock.now += FORGOTTEN + 1
    assert attempts.wait("192.0.2.1") == 0
    attempts.wrong("192.0.2.1")
    assert attempts.by_address["192.0.2.1"].count == 1


def test_many_addresses_together_are_held_back_too(attempts, clock):
    looked, end, number = 0, clock.now + 60, 0
    while clock.now < end:
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        if attempts.wait(address) <= 0:
            attempts.wrong(address)
            looked += 1
        number += 1
        clock.now += 0.01
    assert looked <= TOGETHER + 60 * A_SECOND + 1
    clock.now += 1 / A_SECOND
    assert attempts.wait("192.0.2.1") == 0  # who comes when it is over waits for nothing


def test_no_more_is_remembered_however_many_come(attempts):
    for number in range(2 * MOST_ADDRESSES):
        attempts.wrong(f"{number >> 8 & 255}.{number & 255}.1.{number >> 16}")
    assert len(attempts.by_address) == MOST_ADDRESSES


def test_whoever_has_a_network_of_ipv6_is_one_visitor():
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9") != network_of("2001:db8:1:3::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("fe80::1%eth0") == "fe80::"
    assert len(network_of("x" * 10_000)) < 100
