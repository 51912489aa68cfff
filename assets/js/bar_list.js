// Groups of rows with bars. Python: atlas/components/bar_list.py.
const STEPS = 1000

const element = (tag, name, text) => {
  const el = document.createElement(tag)
  if (name) { el.className = name }
  if (text !== undefined) { el.textContent = text }
  return el
}

export function render({model}) {
  const root = element("div", "aa-bar-list")
  let shape = null

  // A row or heading that can be pressed is a button, any other a plain box.
  function pressable(name, key) {
    const el = element(key ? "button" : "div", name)
    if (key) {
      el.type = "button"
      el.dataset.key = key
    }
    return el
  }

  function build() {
    root.replaceChildren(...model.groups.map(group => {
      const box = element("div", "group"), rows = element("div", "rows")
      const head = pressable("head", group.key)
      head.append(element("span", "name"), element("span", "head-note"))
      rows.setAttribute("role", "group")
      group.rows.forEach(({key, shares}, i) => {
        const row = pressable("row", key), bars = element("span", "bars")
        // One stop for the Tab key in each group; arrows move inside it.
        if (key) { row.tabIndex = i === 0 ? 0 : -1 }
        bars.append(...shares.map(() => element("span", "bar")))
        row.append(element("span", "label"), bars, element("span", "number"), element("span", "note"))
        rows.append(row)
      })
      box.append(head, rows)
      if (group.left_out) { box.append(element("div", "more", `and ${group.left_out} more`)) }
      return box
    }))
  }

  function fill(el, row) {
    const [label, bars, number, note] = el.children
    label.textContent = row.label
    label.title = row.label
    row.shares.forEach((share, i) => {
      bars.children[i].style.width = share === null ? "0" : `${100 * share / STEPS}%`
      bars.children[i].classList.toggle("some", share !== null)
    })
    number.textContent = row.number
    note.textContent = row.note
    el.classList.toggle("against", row.state === "against")
    if (row.key) {
      el.setAttribute("aria-pressed", String(row.state !== ""))
      el.setAttribute("aria-label", [row.label, row.number, row.note, row.state].filter(Boolean).join(", "))
    }
  }

  // The same columns in all groups, so that bars can be compared: as wide as the longest of each, up to a limit.
  function columns() {
    const rows = model.groups.flatMap(group => group.rows)
    for (const [name, most] of [["label", model.letters], ["number", 30], ["note", 30]]) {
      const longest = Math.max(0, ...rows.map(row => row[name].length))
      // One more for names: a letter may be wider than the digit that "ch" is.
      root.style.setProperty(`--${name}`, `${Math.min(longest, most) + (name === "label" ? 1 : 0)}ch`)
    }
  }

  function update() {
    columns()
    const now = JSON.stringify(model.groups.map(({key, left_out, rows}) => [key, left_out, rows.map(({key, shares}) => [key, shares.length])]))
    // The same rows are patched in place: a button that was rebuilt would lose the focus that pressed it.
    if (now !== shape) { build() }
    shape = now
    model.groups.forEach((group, i) => {
      const [head, rows] = root.children[i].children
      head.children[0].textContent = group.name
      head.children[1].textContent = group.note
      if (group.key) { head.setAttribute("aria-pressed", String(group.pressed)) }
      rows.setAttribute("aria-label", group.name)
      rows.classList.toggle("no-bars", group.rows.every(({shares}) => !shares.length))
      group.rows.forEach((row, j) => fill(rows.children[j], row))
    })
  }

  function press(button, event) {
    model.send_msg({key: button.dataset.key, shift: event.shiftKey, control: event.ctrlKey || event.metaKey})
  }

  function reach(button, focus) {
    for (const other of button.parentNode.querySelectorAll("button.row")) { other.tabIndex = other === button ? 0 : -1 }
    if (focus) { button.focus() }
  }

  root.addEventListener("click", event => {
    const button = event.target.closest("button")
    if (!button) { return }
    if (button.classList.contains("row")) { reach(button, false) }
    press(button, event)
  })

  // A press with Shift would select the letters up to here; what prevents that prevents the focus too.
  root.addEventListener("mousedown", event => {
    const button = event.target.closest("button")
    if (!button || !event.shiftKey) { return }
    event.preventDefault()
    button.focus()
  })

  root.addEventListener("keydown", event => {
    const button = event.target.closest("button")
    if (!button || event.altKey) { return }
    if (event.key === "Enter" || event.key === " ") {
      // Not left to the browser, which need not say in its click which keys were held.
      if (!event.repeat) { press(button, event) }
    } else {
      const rows = [...button.parentNode.querySelectorAll("button.row")], at = rows.indexOf(button)
      const to = {ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: rows.length - 1}[event.key]
      if (at < 0 || to === undefined) { return }
      if (rows[to]) { reach(rows[to], true) }
    }
    event.preventDefault()
    event.stopPropagation()
  })
  // Firefox presses a button when the space bar is let go.
  root.addEventListener("keyup", event => { if (event.key === " ") { event.preventDefault() } })

  const dress = () => {
    root.classList.toggle("dark", model.dark)
    root.style.setProperty("--group", `${model.width_of_group}px`)
  }
  model.on("groups", update)
  model.on(["dark", "width_of_group"], dress)
  dress()
  update()
  return root
}
