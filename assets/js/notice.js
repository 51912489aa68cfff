// What stands where a plot would be, or above it: a problem, what to do, what was left out, what is awaited.
// Python: atlas/components/notice.py.
const KINDS = ["problem", "empty", "note", "waiting"]
const SIGNS = {problem: "!", empty: "\u2192", note: "i", waiting: ""}

export function render({model}) {
  // Panel names the box around it "notice", after the Python class; the style sheet is not about that one.
  const root = document.createElement("div")
  const parts = {}
  for (const kind of KINDS) {
    const part = document.createElement("div"), sign = document.createElement("span"), text = document.createElement("span")
    part.className = kind
    sign.className = "sign"
    sign.textContent = SIGNS[kind]
    sign.setAttribute("aria-hidden", "true")
    part.setAttribute("role", kind === "problem" ? "alert" : "status")
    part.append(sign, text)
    root.append(part)
    parts[kind] = [part, text]
  }
  const cancel = document.createElement("button")
  cancel.type = "button"
  cancel.className = "cancel"
  cancel.addEventListener("click", () => { model.send_msg("cancel") })
  parts.waiting[0].append(cancel)

  function update() {
    root.className = model.dark ? "aa-notice dark" : "aa-notice"
    for (const kind of KINDS) {
      const [part, text] = parts[kind]
      // A problem says it all: what to do and what was left out wait until it is mended.
      const said = kind !== "problem" && kind !== "waiting" && model.problem ? "" : model[kind]
      part.hidden = said === ""
      if (text.textContent !== said) { text.textContent = said }
    }
    cancel.hidden = !model.can_cancel
    cancel.textContent = model.can_cancel ? "Cancel" : ""
  }

  model.on([...KINDS, "dark", "can_cancel"], update)
  update()
  return root
}
