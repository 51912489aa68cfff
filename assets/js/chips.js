// Small buttons in groups. Python: atlas/components/chips.py.
const element = (tag, name, text) => {
  const el = document.createElement(tag)
  if (name) { el.className = name }
  if (text !== undefined) { el.textContent = text }
  return el
}

// The wanted children in their order. What stays is not touched: an element that is taken out and put back loses the focus, and the
// press that is under way on it.
function arrange(parent, wanted) {
  for (const each of [...parent.children]) {
    if (!wanted.includes(each)) { each.remove() }
  }
  wanted.forEach((each, at) => {
    const there = parent.children[at] ?? null
    if (there !== each) { parent.insertBefore(each, there) }
  })
}

function new_chip(key) {
  const button = element("button", "chip")
  button.type = "button"
  button.dataset.key = key
  button.tabIndex = -1
  button.append(element("span"), element("span", "count"))
  return button
}

function new_group(name) {
  const row = element("div", "group"), bar = element("div", "bar")
  bar.setAttribute("role", "toolbar")
  bar.setAttribute("aria-label", name)
  row.append(element("span", "name", name), bar)
  return row
}

export function render({model}) {
  // Panel names the box around it "chips", after the Python class; the style sheet is not about that one.
  const root = element("div", "aa-chips")
  const made = new Map() // groups by name, and chips by group and key

  function kept(id, make) {
    if (!made.has(id)) { made.set(id, make()) }
    return made.get(id)
  }

  function chip(group, {key, label, count, active, title}) {
    const button = kept(JSON.stringify([group, key]), () => new_chip(key))
    button.setAttribute("aria-pressed", String(active))
    if (button.title !== title) { button.title = title }
    const [name, number] = button.children
    if (name.textContent !== label) { name.textContent = label }
    number.textContent = count
    return button
  }

  function update() {
    const rows = model.groups.map(({name, chips, left_out}) => {
      const row = kept(name, () => new_group(name)), bar = row.lastChild
      const buttons = chips.map(each => chip(name, each))
      const more = left_out ? [kept(JSON.stringify([name]), () => element("span", "more"))] : []
      for (const each of more) { each.textContent = `and ${left_out} more` }
      arrange(bar, [...buttons, ...more])
      // One stop for the Tab key in each row; arrows move inside it.
      const stop = buttons.find(button => button.tabIndex === 0) ?? buttons[0]
      for (const button of buttons) { button.tabIndex = button === stop ? 0 : -1 }
      return row
    })
    arrange(root, rows)
    for (const [id, each] of made) {
      if (!root.contains(each)) { made.delete(id) }
    }
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
