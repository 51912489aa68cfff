"""Panel (1.9) takes some changes of the server for changes of the browser."""

from __future__ import annotations

from typing import Any, ClassVar

from panel.custom import JSComponent


class OneWay(JSComponent):
    """A component that sends some Params in a different form, and never takes them from the browser."""

    one_way: ClassVar[frozenset[str]] = frozenset()
    """Params that the browser never sets."""

    def to_browser(self, params: dict[str, Any]) -> dict[str, Any]:
        """Convert changed Params into the form in which they are sent. Panel has no public method for this."""
        return params

    def _process_param_change(self, params: dict[str, Any]) -> dict[str, Any]:
        sent: dict[str, Any] = super()._process_param_change(self.to_browser(params))
        return sent

    def _process_property_change(self, msg: dict[str, Any]) -> dict[str, Any]:
        """Ignore changes of one-way Params that Panel attributes to the browser.

        Panel takes changes made between the opening of the connection and that of the page for the browser's. It then wrote the
        sent form back into the Param, so that weights were multiplied by a thousand.
        """
        changed: dict[str, Any] = super()._process_property_change(msg)
        return {name: value for name, value in changed.items() if name not in self.one_way}
