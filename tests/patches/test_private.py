"""Private attributes of libraries are used in one folder only."""

from __future__ import annotations

import ast

from tests.places import REPO

OWN = {"self", "cls", "super"}

PUBLIC = {"_replace", "_asdict", "_fields"}
"""Documented names of every NamedTuple, which begin with an underscore so that no field is called like them."""

ROOMS = ("views", "components", "state", "plots", "cli")


def private_uses(source):
    """(line, name) of every private attribute that is read or written of something else than one's own."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
            continue
        owner = node.value
        name = owner.id if isinstance(owner, ast.Name) else owner.func.id if _calls_a_name(owner) else ""
        if name not in OWN and node.attr not in PUBLIC:
            yield node.lineno, node.attr


def _calls_a_name(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def test_no_private_attribute_of_a_library_outside_the_patches():
    paths = [path for room in ROOMS for path in (REPO / "atlas" / room).rglob("*.py")] + [REPO / "atlas" / "app.py"]
    assert len(paths) > 40
    found = [f"{path.relative_to(REPO)}:{line}: {name}" for path in paths for line, name in private_uses(path.read_text("utf-8"))]
    assert [each for each in found if "cli/serve.py" not in each or "_exit" not in each] == []  # os._exit is documented


def test_the_search_finds_them():
    source = "a._b\nself._c\nsuper()._d\nf()._e\na.b._f = 1\na.__g__\n"
    assert list(private_uses(source)) == [(1, "_b"), (4, "_e"), (5, "_f")]
