import { z } from 'zod'

/** One Python name to generate: a model class, a union of them, or an alias of a scalar. */
export type PythonModel = {
  readonly name: string
  readonly schema: z.ZodType
  readonly doc: string
}

/** JSON Schema as zod writes it for our shapes, which need less than the standard allows. */
type Node = {
  const?: string
  exclusiveMinimum?: number
  items?: Node
  anyOf?: Node[]
  oneOf?: Node[]
  properties?: Record<string, Node>
} & z.core.JSONSchema.JSONSchema

/**
 * Python source of the given shapes, in their order; a shape that uses another names it. `literals`
 * are lists of words that have a name of their own.
 */
export function renderPythonModels(
  models: readonly PythonModel[],
  literals: Readonly<Record<string, readonly string[]>>,
): string {
  const registry = z.registry<{ id: string }>()
  for (const { name, schema } of models) registry.add(schema, { id: name })
  const { schemas } = z.toJSONSchema(registry, {
    target: 'draft-2020-12',
    io: 'input',
    uri: (id) => id,
  }) as { schemas: Record<string, Node> } // zod types the keywords wider than we use them.
  const source = models
    .map(({ name, doc }) => renderDefinition(name, schemas[name] ?? {}, doc))
    .join('\n')
  return Object.entries(literals).reduce(
    (text, [name, words]) => text.replaceAll(pythonType({ enum: [...words] }), name),
    source,
  )
}

function renderDefinition(name: string, node: Node, doc: string): string {
  if (node.oneOf) return renderUnion(name, node.oneOf, doc)
  if (node.properties) return renderClass(name, node, doc)
  return `${name} = ${pythonType(node)}\n"""${doc}"""\n`
}

/** A union by its tag; a member that is not a model of its own is defined here, named by its title. */
function renderUnion(name: string, members: readonly Node[], doc: string): string {
  const names: string[] = []
  let classes = ''
  for (const member of members) {
    const tag = Object.entries(member.properties ?? {}).find(([, child]) => child.const)
    const memberName = member.$ref ?? member.title
    if (!memberName) throw new Error(`a member of ${name} has no title`)
    names.push(memberName)
    if (!member.$ref) {
      const words = snake(name).replaceAll('_', ' ').trim()
      const says = `The ${words} \`${tag?.[1].const}\`.`
      classes += `\n${renderClass(memberName, member, says)}\n`
    }
  }
  const union = `${name} = Annotated[\n    ${names.join(' | ')},\n    Field(discriminator="answer"),\n]`
  return `${classes}\n${union}\n"""${doc}"""\n`
}

function renderClass(name: string, node: Node, doc: string): string {
  const required = new Set(node.required)
  const fields = Object.entries(node.properties ?? {}).map(([key, child]) => {
    const type = pythonType(child)
    if (!required.has(key))
      return `    ${snake(key)}: ${type} | None = Field(default=None, exclude_if=is_none)`
    return `    ${snake(key)}: ${type}${child.const ? ` = "${child.const}"` : ''}`
  })
  return `\nclass ${name}(WireModel):\n    """${doc}"""\n\n${fields.join('\n')}\n`
}

function pythonType(node: Node): string {
  if (node.$ref) return node.$ref
  if (node.const) return `Literal["${node.const}"]`
  if (node.enum) return `Literal[${node.enum.map((value) => `"${value}"`).join(', ')}]`
  if (node.anyOf) return node.anyOf.map(pythonType).join(' | ')
  if (typeof node.type === 'object')
    return node.type.map((type) => pythonType({ ...node, type })).join(' | ')
  switch (node.type) {
    case 'null':
      return 'None'
    case 'boolean':
      return 'bool'
    case 'integer':
    case 'number':
      return numberType(node)
    case 'string':
      return stringType(node)
    case 'array':
      return constrained(`list[${pythonType(node.items ?? {})}]`, { max_length: node.maxItems })
    case 'object':
      return `dict[str, ${pythonType(Object(node.additionalProperties))}]`
    case undefined:
      return 'object'
    default:
      throw new Error(`no Python for ${JSON.stringify(node)}`)
  }
}

/** Numbers get the aliases at the top of the file where their bounds are the usual ones. */
function numberType({ type, minimum, exclusiveMinimum, maximum }: Node): string {
  const isInteger = type === 'integer'
  const bound = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum
  const kind = isInteger ? 'Int' : 'Float'
  if (bound === undefined && minimum === 0) return `NonNegative${kind}`
  if (bound === undefined && exclusiveMinimum === 0) return `Positive${kind}`
  return constrained(isInteger ? 'int' : 'float', { ge: minimum, gt: exclusiveMinimum, le: bound })
}

function stringType({ format, pattern, minLength, maxLength }: Node): string {
  if (format === 'uri') return 'Url'
  return constrained('str', {
    min_length: minLength,
    max_length: maxLength,
    pattern: pattern === undefined ? undefined : `r"${pattern}"`,
  })
}

function constrained(type: string, limits: Record<string, number | string | undefined>): string {
  const set = Object.entries(limits).filter(([, limit]) => limit !== undefined)
  if (set.length === 0) return type
  return `Annotated[${type}, Field(${set.map(([name, limit]) => `${name}=${limit}`).join(', ')})]`
}

/** `renderedForSeconds` → `rendered_for_seconds`, which pydantic's `to_camel` turns back. */
export function snake(camel: string): string {
  return camel.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
