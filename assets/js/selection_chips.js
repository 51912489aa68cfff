// What is selected, and buttons that let go of it. Python: atlas/components/selection_chips.py.
const PARTS = ["heads", "tokens", "changes"]
const ENDS = {changes: "Run again with everything"}
// What is sent, which Param holds the words of the button, and what a press does.
const ACTIONS = [
  ["off", "switch_off", "Run the text again without the selected heads; every view then shows that run"],
  ["cut", "cut", "Run the text again while these heads cannot look from the selected tokens to the selected tokens"],
]

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
  const actions = ACTIONS.map(([part, name, title]) => {
    const box = document.createElement("span"), button = document.createElement("button")
    box.className = `aa-${name}`.replace("_", "-")
    button.type = "button"
    button.title = title
    button.addEventListener("click", () => { model.send_msg({part}) })
    box.append(button)
    return box
  })
  root.append(nothing, boxes[0], actions[0], boxes[1], actions[1], boxes[2])

  function update() {
    root.className = model.dark ? "aa-selection-chips dark" : "aa-selection-chips"
    nothing.textContent = model.nothing
    nothing.hidden = model.nothing === ""
    ACTIONS.forEach(([, name], i) => {
      actions[i].firstChild.textContent = model[name]
      actions[i].hidden = model[name] === ""
    })
    PARTS.forEach((part, i) => {
      words[part].textContent = model[part]
      boxes[i].hidden = model[part] === ""
    })
  }

  model.on([...PARTS, "nothing", ...ACTIONS.map(([, name]) => name), "dark"], update)
  update()
  return root
}
