from __future__ import annotations

from pathlib import Path

import pytest

from atlas import resources
from atlas.errors import BrokenFiles
from tests.places import REPO


@pytest.fixture
def two_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    places = (tmp_path / "wheel", tmp_path / "checkout")
    monkeypatch.setattr(resources, "_PLACES", places)
    return places


def test_a_checkout_uses_its_own_folder() -> None:
    assert resources.assets() == REPO / "assets"


def test_the_wheels_place_wins_over_a_folder_that_happens_to_stand_beside_the_package(two_places: tuple[Path, Path]) -> None:
    wheel, checkout = two_places
    checkout.mkdir()
    assert resources.assets() == checkout
    wheel.mkdir()
    assert resources.assets() == wheel


def test_without_assets_the_message_says_where_it_looked(two_places: tuple[Path, Path]) -> None:
    with pytest.raises(BrokenFiles, match="Install attention-atlas again") as caught:
        resources.assets()
    assert all(str(place) in str(caught.value) for place in two_places)


def test_an_asset_is_found_by_its_parts_and_a_missing_one_names_its_neighbours(two_places: tuple[Path, Path]) -> None:
    card = two_places[1] / "models" / "tiny" / "MODEL_CARD.md"
    card.parent.mkdir(parents=True)
    card.write_text("card")
    assert resources.asset("models", "tiny", "MODEL_CARD.md") == card
    assert resources.asset("models") == card.parent.parent
    with pytest.raises(BrokenFiles, match=r"models/tony.*there is tiny"):
        resources.asset("models", "tony")


@pytest.mark.parametrize("parts", [("..", "secret"), ("models", "..", "..", "secret"), ("/etc/passwd",)])
def test_no_asset_name_leads_out_of_the_folder(two_places: tuple[Path, Path], parts: tuple[str, ...]) -> None:
    two_places[1].mkdir()
    (two_places[1].parent / "secret").write_text("secret")
    with pytest.raises(BrokenFiles, match="leads out"):
        resources.asset(*parts)
