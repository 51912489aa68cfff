// Small buttons in groups. Python: atlas/components/chips.py.
const element = (tag, name, text) => {
  const el = document.createElement(tag)
  if (name) { el.className = name }
  if (text !== undefined) { el.textContent = text }
  return el
}

export function render({model}) {
  // Panel names the box around it "chips", after the Python class; the style sheet is not about that one.
  const root = element("div", "aa-chips")
  let shape = null

  function chip(button, {label, count, active, title}) {
    button.setAttribute("aria-pressed", String(active))
    if (button.title !== title) { button.title = title }
    const [name, number] = button.children
    if (name.textContent !== label) { name.textContent = label }
    number.textContent = count
  }

  function build() {
    root.replaceChildren(...model.groups.map(({name, chips, left_out}) => {
      const row = element("div", "group"), bar = element("div", "bar")
      bar.setAttribute("role", "toolbar")
      bar.setAttribute("aria-label", name)
      chips.forEach(({key}, i) => {
        const button = element("button", "chip")
        button.type = "button"
        button.dataset.key = key
        // One stop for the Tab key in each row; arrows move inside it.
        button.tabIndex = i === 0 ? 0 : -1
        button.append(element("span"), element("span", "count"))
        bar.append(button)
      })
      if (left_out) { bar.append(element("span", "more", `and ${left_out} more`)) }
      row.append(element("span", "name", name), bar)
      return row
    }))
  }

  function update() {
    const now = JSON.stringify(model.groups.map(({name, chips, left_out}) => [name, left_out, chips.map(({key}) => key)]))
    // The same chips are patched in place: a button that was rebuilt would lose the focus that pressed it.
    if (now !== shape) { build() }
    shape = now
    const buttons = root.querySelectorAll(".chip")
    model.groups.flatMap(({chips}) => chips).forEach((each, i) => chip(buttons[i], each))
  }

  root.addEventListener("click", event => {
    const button = event.target.closest(".chip")
    if (!button) { return }
    reach(button, false)
    model.send_msg({key: button.dataset.key, additive: event.ctrlKey || event.metaKey || event.shiftKey})
  })

  function reach(button, focus) {
    for (const other of button.parentNode.querySelectorAll(".chip")) { other.tabIndex = other === button ? 0 : -1 }
    if (focus) { button.focus() }
  }

  root.addEventListener("keydown", event => {
    const button = event.target.closest(".chip")
    if (!button || event.altKey || event.ctrlKey || event.metaKey) { return }
    const row = [...button.parentNode.querySelectorAll(".chip")], at = row.indexOf(button)
    const back = getComputedStyle(root).direction === "rtl" ? "ArrowRight" : "ArrowLeft"
    const to = {ArrowLeft: at + (back === "ArrowLeft" ? -1 : 1), ArrowRight: at + (back === "ArrowLeft" ? 1 : -1),
      Home: 0, End: row.length - 1}[event.key]
    if (to === undefined) { return }
    if (row[to]) { reach(row[to], true) }
    event.preventDefault()
    event.stopPropagation()
  })

  const dress = () => {
    root.classList.toggle("dark", model.dark)
    root.classList.toggle("inline", model.inline)
  }
  model.on("groups", update)
  model.on("dark", dress)
  dress()
  update()
  return root
}
