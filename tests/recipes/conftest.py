from __future__ import annotations

import pytest

from assets.recipes import t5_dates


@pytest.fixture(scope="session")
def t5_tokenizer():
    return t5_dates.build_tokenizer()
