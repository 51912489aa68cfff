// Tells Python whether the page is to be dark: as the reader chose last in this browser, else as the system prefers.
// Python: atlas/components/scheme.py.
const KEY = "attention-atlas-scheme"

// A browser may forbid storage (private windows, blocked cookies): the choice then lasts until the page is left.
function stored() {
  try { return localStorage.getItem(KEY) } catch { return null }
}

function store(scheme) {
  try { localStorage.setItem(KEY, scheme) } catch { return }
}

export function render({model}) {
  const query = matchMedia("(prefers-color-scheme: dark)")
  const wanted = () => ({dark: true, light: false})[stored()] ?? query.matches
  let told = null
  const tell = () => {
    told = wanted()
    model.send_msg({dark: told})
  }
  // A page that is now other than it was told to be was changed by its reader.
  const chosen = () => {
    if (told === null || model.dark === told) { return }
    told = model.dark
    store(told ? "dark" : "light")
  }
  query.addEventListener("change", tell)
  model.on("dark", chosen)
  model.on("remove", () => query.removeEventListener("change", tell))
  tell()
  return document.createElement("div")
}
