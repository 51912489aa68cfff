// What is selected, and buttons that let go of it. Python: atlas/components/selection_chips.py.
const PARTS = ["heads", "tokens", "changes"]
const ENDS = {changes: "Run again with everything"}

export function render({model}) {
  // Panel names the box around it after the Python class; the style sheet is about this element.
  const root = document.createElement("div")
  const nothing = document.createElement("span")
  nothing.className = "aa-nothing"
  const words = {}
  const boxes = PARTS.map(part => {
    const box = document.createElement("span"), button = document.createElement("button")
    const text = document.createElement("span"), cross = document.createElement("span")
    box.className = `aa-clear-${part}`
    button.type = "button"
    button.title = ENDS[part] ?? `Let go of the selected ${part} (Escape)`
    text.className = "words"
    cross.className = "cross"
    cross.textContent = "\u2715"
    cross.setAttribute("aria-hidden", "true")
    button.append(text, cross)
    button.addEventListener("click", () => { model.send_msg({part}) })
    box.append(button)
    words[part] = text
    return box
  })
  const off = document.createElement("button"), switches = document.createElement("span")
  switches.className = "aa-switch-off"
  off.type = "button"
  off.title = "Run the text again without the selected heads; every view then shows that run"
  off.addEventListener("click", () => { model.send_msg({part: "off"}) })
  switches.append(off)
  root.append(nothing, boxes[0], switches, ...boxes.slice(1))

  function update() {
    root.className = model.dark ? "aa-selection-chips dark" : "aa-selection-chips"
    nothing.textContent = model.nothing
    nothing.hidden = model.nothing === ""
    off.textContent = model.switch_off
    switches.hidden = model.switch_off === ""
    PARTS.forEach((part, i) => {
      words[part].textContent = model[part]
      boxes[i].hidden = model[part] === ""
    })
  }

  model.on([...PARTS, "nothing", "switch_off", "dark"], update)
  update()
  return root
}
