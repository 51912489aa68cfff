// Tells Python once whether the reader's system prefers a dark page, and again when that changes.
// Python: atlas/components/scheme.py.

export function render({model}) {
  const query = matchMedia("(prefers-color-scheme: dark)")
  const tell = () => model.send_msg({dark: query.matches})
  query.addEventListener("change", tell)
  model.on("remove", () => query.removeEventListener("change", tell))
  tell()
  return document.createElement("div")
}
