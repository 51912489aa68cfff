// The tabs of the page. Python: atlas/components/tab_bar.py.
const STEPS = {ArrowRight: 1, ArrowLeft: -1}

export function render({model}) {
  const root = document.createElement("div")
  root.setAttribute("role", "tablist")
  let buttons = []

  function open(at, focus) {
    const tab = model.tabs[(at + model.tabs.length) % model.tabs.length]
    if (!tab) { return }
    model.active = tab.key
    update()
    if (focus) { buttons.find(each => each.dataset.key === tab.key)?.focus() }
  }

  function build() {
    buttons = model.tabs.map(({key, title}, at) => {
      const button = document.createElement("button")
      button.type = "button"
      button.dataset.key = key
      button.textContent = title
      button.setAttribute("role", "tab")
      button.addEventListener("click", () => open(at, false))
      return button
    })
    root.replaceChildren(...buttons)
    update()
  }

  function update() {
    root.className = model.dark ? "tabs dark" : "tabs"
    for (const button of buttons) {
      const chosen = button.dataset.key === model.active
      button.setAttribute("aria-selected", String(chosen))
      button.tabIndex = chosen ? 0 : -1
    }
  }

  root.addEventListener("keydown", event => {
    const step = STEPS[event.key]
    if (!step) { return }
    open(model.tabs.findIndex(({key}) => key === model.active) + step, true)
    // The same keys move the head in focus, elsewhere on the page.
    event.preventDefault()
    event.stopPropagation()
  })
  model.on("tabs", build)
  model.on(["active", "dark"], update)
  build()
  return root
}
