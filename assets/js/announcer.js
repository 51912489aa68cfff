// Says aloud what changed, and hears the keys that work anywhere on the page. Python: atlas/components/announcer.py.

// A screen reader would read every step of a held key, long after it was let go.
const SETTLED = 150

const ARROWS = {ArrowLeft: "head-left", ArrowRight: "head-right", ArrowUp: "head-up", ArrowDown: "head-down"}
const NOT_TYPED = new Set(["button", "checkbox", "color", "file", "image", "radio", "range", "reset", "submit"])
const TYPED_ROLES = new Set(["combobox", "searchbox", "spinbutton", "textbox"])

const element = (tag, name, text) => {
  const el = document.createElement(tag)
  if (name) { el.className = name }
  if (text !== undefined) { el.textContent = text }
  return el
}

function typing(target) {
  if (!(target instanceof HTMLElement)) { return false }
  return target.isContentEditable || target.tagName === "TEXTAREA" || target.tagName === "SELECT" ||
    (target.tagName === "INPUT" && !NOT_TYPED.has(target.type)) || TYPED_ROLES.has(target.getAttribute("role"))
}

// The first match on the page, through the shadow roots in which Bokeh keeps everything.
function find(selector, root) {
  for (const el of root.querySelectorAll("*")) {
    if (el.matches(selector)) { return el }
    const found = el.shadowRoot && find(selector, el.shadowRoot)
    if (found) { return found }
  }
  return null
}

export function render({model}) {
  const root = element("div", "announcer"), live = element("div", "live"), keys = element("div", "keys")
  live.setAttribute("role", "status")
  live.setAttribute("aria-live", "polite")
  keys.setAttribute("role", "dialog")
  keys.setAttribute("aria-label", "Keys")
  keys.popover = "auto"
  root.append(live, keys)
  let timer = null

  function say() {
    clearTimeout(timer)
    timer = setTimeout(() => { if (live.textContent !== model.message) { live.textContent = model.message } }, SETTLED)
  }

  function dress() {
    root.classList.toggle("dark", model.dark)
    live.classList.toggle("unseen", !model.shown)
    keys.replaceChildren(element("h2", "", "Keys"), ...Object.entries(model.shortcuts).map(([key, does]) => {
      const row = element("div", "row")
      row.append(element("kbd", "", key), element("span", "", does))
      return row
    }))
  }

  function named({key, altKey, ctrlKey, metaKey, shiftKey}, path) {
    if (altKey || ctrlKey || metaKey) { return null }
    if (key === "Escape") { return "clear" }
    // Not Alt: with it, left and right are the browser's own back and forward.
    if (key in ARROWS && (shiftKey || path.some(el => el.classList?.contains("aa-heads")))) { return ARROWS[key] }
    return model.letters && (key === "/" || key === "?") ? key : null
  }

  function heard(event) {
    if (!root.isConnected) { return removeEventListener("keydown", heard) }
    const path = event.composedPath()
    // Whoever was meant has dealt with it: a menu that closes, the text, an enlarged card.
    if (event.defaultPrevented || event.isComposing || typing(path[0])) { return }
    const name = named(event, path)
    if (name === null || (name === "clear" && keys.matches(":popover-open"))) { return }
    event.preventDefault()
    if (name === "?") { return keys.togglePopover() }
    if (name === "/") { return write() }
    model.send_msg({key: name})
  }

  function write() {
    const box = find(".aa-text", document)
    const field = box && (find("textarea, input", box.shadowRoot ?? box) ?? box)
    field?.focus()
  }

  // On the window: after everything on the page that might want the key.
  addEventListener("keydown", heard)
  model.on("message", say)
  model.on(["shown", "dark", "shortcuts"], dress)
  model.on("remove", () => {
    clearTimeout(timer)
    removeEventListener("keydown", heard)
  })
  dress()
  say()
  return root
}
