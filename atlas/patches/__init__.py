"""All patches of libraries and all uses of their private attributes, each with its reason and the versions it is for.

| module | library | what it corrects |
|---|---|---|
| `browser` | Panel 1.9, Bokeh 3.9 | scripts of tables, React components, glyphs and the wheel in the browser |
| `counting` | Bokeh 3.9 | the models of a page are counted after every change, even if none was added or removed |
| `inputs` | Panel 1.9 | typed text arrives 50 ms late, a click immediately |
| `notebook` | Panel 1.9, pyviz_comms 3 | order and thread of messages in a notebook |
| `panes` | Panel 1.9 | no public access to the plots of a pane; text shown as HTML; style sheets sent with every text |
| `sending` | Panel 1.9 | messages that are not sent, and changes of the server that are taken for the browser's |
| `table` | Panel 1.9 | rows sent again when the browser filtered them |

A test in tests/patches fails when the library no longer has the fault; then remove the patch. `private` raises, with the name of
the patch, when a private attribute is gone; then the upper bounds in pyproject.toml were raised too far. Not listed here are
`_esm`, `_stylesheets`, `_handle_msg` and `_send_msg` of Panel's components, because Panel's documentation tells authors to use
them.
"""
