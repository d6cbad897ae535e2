/** The text with one fault in it. @throws Error when the place is not found exactly once */
export function plant(text: string, find: string, replace: string): string {
  const places = text.split(find).length - 1
  if (places !== 1) throw new Error(`"${find.trim()}" occurs ${places} times instead of once`)
  return text.replace(find, () => replace)
}
