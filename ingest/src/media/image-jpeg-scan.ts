/** A component of a JPEG: how often it is sampled, and the step in which its means are quantised. */
export type JpegComponent = { id: number; h: number; v: number; meanStep: number }

export type JpegFrame = {
  readonly width: number
  readonly height: number
  readonly components: readonly JpegComponent[]
}

/** For the next 16 bits, the length of the code that they begin with times 256 plus its symbol. 0 is no code. */
export type HuffmanTable = Uint16Array

/** One scan: whose coefficients, by which tables, and which bits of them. */
export type JpegScan = {
  readonly parts: readonly { component: JpegComponent; dc: HuffmanTable; ac: HuffmanTable }[]
  readonly from: number
  readonly to: number
  /** Whether it adds a bit to coefficients that an earlier scan began. */
  readonly isRefinement: boolean
  readonly lowBit: number
}

/** Where the decoding of an interval stopped. `units` are MCUs; all of them were read unless it lacks some. */
type Stop = { units: number; bits: number }

/** What a decoder of one scan needs of an interval between two restart markers, its stuffing removed. */
type Decode = (data: Uint8Array, bits: number, firstUnit: number, units: number) => Stop

/** Means may lie beyond black and white: mozjpeg overshoots on purpose, by 31 of 255. */
const meanLimit = 1_024 + 8 * 31

/** Codes of up to so many bits, which are nearly all, stand in front: there, the processor's cache holds them. */
const shortBits = 9
const shortCodes = 2 ** shortBits
const longSpan = 2 ** (16 - shortBits)

/** The last tables that were made. Most JPEGs have the same four, and making one takes longer than a scan of it. */
const tables = new Map<string, HuffmanTable>()
const keptTables = 8

/** The lookup table for 16 counts of codes of 1 to 16 bits with their symbols behind them. */
export function huffmanTable(definition: Buffer): HuffmanTable {
  const key = definition.toString('latin1')
  const known = tables.get(key)
  if (known) return known
  const table = new Uint16Array(shortCodes + 0x1_0000)
  let [at, next] = [0, 16]
  for (const [shorter, count] of definition.subarray(0, 16).entries()) {
    const span = 0x8000 >> shorter
    for (let left = count; left > 0; left--, at += span) {
      const code = ((shorter + 1) << 8) | (definition[next++] ?? 0)
      table.fill(code, shortCodes + at, shortCodes + at + span)
      if (shorter < shortBits) table.fill(code, at / longSpan, (at + span) / longSpan)
    }
  }
  if (tables.size >= keptTables) tables.delete(tables.keys().next().value ?? '')
  tables.set(key, table)
  return table
}

/**
 * Follows the Huffman codes of a JPEG without computing a pixel. It stops at what decoders paint over:
 * a code that does not exist, a block of more than 64 coefficients, a mean beyond black or white, and
 * the end of the data.
 */
export function createJpegFollower(frame: JpegFrame) {
  const { width, height, components } = frame
  const hMax = Math.max(...components.map(({ h }) => h))
  const vMax = Math.max(...components.map(({ v }) => v))
  const mcuColumns = Math.ceil(width / (8 * hMax))
  const mcuRows = Math.ceil(height / (8 * vMax))
  /** Which coefficients of a progressive JPEG are not zero, 64 bits for each block. */
  const filled = new Map<JpegComponent, Uint32Array>()

  /** A scan of one component consists of the blocks that hold pixels, any other one of whole MCUs. */
  function gridOf({ parts }: JpegScan) {
    const [first] = parts
    if (parts.length > 1 || !first) {
      const blocks = parts.flatMap((part) => Array(part.component.h * part.component.v).fill(part))
      return { columns: mcuColumns, rows: mcuRows, unitHeight: 8 * vMax, blocks }
    }
    const { h, v } = first.component
    const columns = Math.ceil(Math.ceil((width * h) / hMax) / 8)
    const rows = Math.ceil(Math.ceil((height * v) / vMax) / 8)
    return { columns, rows, unitHeight: (8 * vMax) / v, blocks: [first] }
  }

  return {
    /** How to read a scan: its units in a row, how many there are, and the decoder of an interval. */
    follow(scan: JpegScan): { units: number; rowOf(unit: number): number; decode: Decode } {
      const grid = gridOf(scan)
      const units = grid.columns * grid.rows
      const rowOf = (unit: number) => Math.floor(unit / grid.columns) * grid.unitHeight
      if (scan.from === 0) return { units, rowOf, decode: decodeMeans(scan, grid.blocks) }
      const { component, ac } = grid.blocks[0] as JpegScan['parts'][number] // The scan has one part.
      const bits = filled.get(component) ?? new Uint32Array(2 * units)
      filled.set(component, bits)
      const decode = scan.isRefinement ? refineDetail(scan, ac, bits) : decodeDetail(scan, ac, bits)
      return { units, rowOf, decode }
    },
  }
}

/** Whole blocks of a sequential JPEG, or the first coefficients of a progressive one. */
function decodeMeans(scan: JpegScan, blocks: readonly JpegScan['parts'][number][]): Decode {
  const { to, lowBit } = scan
  const members = scan.parts.map(({ component }) => component)
  const indices = blocks.map(({ component }) => members.indexOf(component))
  const [dcTables, acTables] = [blocks.map(({ dc }) => dc), blocks.map(({ ac }) => ac)]
  const limits = members.map(({ meanStep }) => (meanLimit / meanStep + 1) / 2 ** lowBit)

  if (scan.isRefinement) {
    return (_data, bits, _first, units) => {
      const read = Math.min(units, Math.floor(bits / blocks.length))
      return { units: read, bits: read * blocks.length }
    }
  }
  return (data, bits, _first, units) => {
    const means = members.map(() => 0)
    let at = 0
    for (let unit = 0; unit < units; unit++) {
      for (let block = 0; block < blocks.length; block++) {
        const dc = dcTables[block] as HuffmanTable // Within bounds, like the next ones.
        const ac = acTables[block] as HuffmanTable
        const index = indices[block] as number
        const code = codeAt(dc, peek(data, at))
        const size = code & 0xff
        if (code === 0 || size > 11) return { units: unit, bits: at }
        at += code >> 8
        if (size > 0) {
          const raw = peek(data, at) >> (16 - size)
          at += size
          const mean = (means[index] ?? 0) + (raw >> (size - 1) ? raw : raw - (1 << size) + 1)
          if (Math.abs(mean) > (limits[index] ?? 0)) return { units: unit, bits: at }
          means[index] = mean
        }
        for (let k = 1; k <= to; k++) {
          const code = codeAt(ac, peek(data, at))
          const size = code & 0xf
          at += (code >> 8) + size
          if (code === 0) return { units: unit, bits: at }
          if (size === 0 && (code & 0xf0) !== 0xf0) break
          k += (code & 0xf0) >> 4
          if (k > to) return { units: unit, bits: at }
        }
      }
      if (at > bits) return { units: unit, bits: at }
    }
    return { units, bits: at }
  }
}

/** The first bits of the other coefficients of a progressive JPEG. */
function decodeDetail({ from, to }: JpegScan, ac: HuffmanTable, filled: Uint32Array): Decode {
  return (data, bits, first, units) => {
    let at = 0
    /** How many blocks are at their end. */
    let ended = 0
    for (let unit = 0; unit < units; unit++) {
      if (ended > 0) ended--
      else {
        for (let k = from; k <= to; k++) {
          const code = codeAt(ac, peek(data, at))
          const size = code & 0xf
          const run = (code & 0xf0) >> 4
          at += code >> 8
          if (code === 0) return { units: unit, bits: at }
          if (size === 0 && run < 15) {
            ended = (1 << run) - 1 + (run > 0 ? peek(data, at) >> (16 - run) : 0)
            at += run
            break
          }
          k += run
          at += size
          if (k > to) return { units: unit, bits: at }
          if (size > 0) fill(filled, first + unit, k)
        }
      }
      if (at > bits) return { units: unit, bits: at }
    }
    return { units: ended > 0 ? units - 1 : units, bits: at }
  }
}

/** One more bit of the other coefficients, with those that become other than zero by it. */
function refineDetail({ from, to }: JpegScan, ac: HuffmanTable, filled: Uint32Array): Decode {
  return (data, bits, first, units) => {
    let at = 0
    let ended = 0
    for (let unit = 0; unit < units; unit++) {
      const block = first + unit
      let k = from
      while (ended === 0 && k <= to) {
        const code = codeAt(ac, peek(data, at))
        const size = code & 0xf
        const run = (code & 0xf0) >> 4
        at += code >> 8
        if (code === 0 || size > 1) return { units: unit, bits: at }
        if (size === 0 && run < 15) {
          ended = (1 << run) + (run > 0 ? peek(data, at) >> (16 - run) : 0)
          at += run
          break
        }
        at += size
        for (let zeros = run; k <= to; k++) {
          if (isFilled(filled, block, k)) at++
          else if (zeros-- === 0) break
        }
        if (k > to && size > 0) return { units: unit, bits: at }
        if (size > 0) fill(filled, block, k)
        k++
      }
      if (ended > 0) {
        for (; k <= to; k++) if (isFilled(filled, block, k)) at++
        ended--
      }
      if (at > bits) return { units: unit, bits: at }
    }
    return { units: ended > 0 ? units - 1 : units, bits: at }
  }
}

/** The entry of a table for the next 16 bits. */
function codeAt(table: HuffmanTable, next: number): number {
  return table[next >> (16 - shortBits)] || (table[shortCodes + next] ?? 0)
}

/** The 16 bits from position `at` on. Behind the data they are zero. */
function peek(data: Uint8Array, at: number): number {
  const byte = at >> 3
  const word =
    ((data[byte] as number) << 16) | ((data[byte + 1] as number) << 8) | (data[byte + 2] as number)
  return (word >> (8 - (at & 7))) & 0xffff
}

function fill(filled: Uint32Array, block: number, k: number): void {
  const at = 2 * block + (k >> 5)
  filled[at] = (filled[at] ?? 0) | (1 << (k & 31))
}

function isFilled(filled: Uint32Array, block: number, k: number): boolean {
  return ((filled[2 * block + (k >> 5)] ?? 0) & (1 << (k & 31))) !== 0
}
