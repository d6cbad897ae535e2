/** Of red, green, blue and white, the chromaticities x and y. */
export type Primaries = readonly (readonly [number, number])[]

type Vector = readonly [number, number, number]
type Matrix = readonly [Vector, Vector, Vector]

export const d65 = [0.3127, 0.329] as const
/** The primaries of sRGB, too. */
export const bt709 = [[0.64, 0.33], [0.3, 0.6], [0.15, 0.06], d65] as const

/** From linear RGB of the primaries to linear sRGB, the white point adapted by Bradford's method. */
export function toLinearSrgb(primaries: Primaries): Matrix {
  const bradford: Matrix = [
    [0.8951, 0.2664, -0.1614],
    [-0.7502, 1.7135, 0.0367],
    [0.0389, -0.0685, 1.0296],
  ]
  const [, , , white = d65] = primaries
  const from = apply(bradford, whiteOf(white))
  const to = apply(bradford, whiteOf(d65))
  const scaled: Matrix = [
    [to[0] / from[0], 0, 0],
    [0, to[1] / from[1], 0],
    [0, 0, to[2] / from[2]],
  ]
  const adaptation = product(inverse(bradford), product(scaled, bradford))
  return product(inverse(toXyz(bt709)), product(adaptation, toXyz(primaries)))
}

/** From linear RGB to XYZ, so that full red, green and blue make white of luminance 1. */
export function toXyz(primaries: Primaries): Matrix {
  const [red = d65, green = d65, blue = d65, white = d65] = primaries
  const columns = [red, green, blue].map(whiteOf) as unknown as Matrix // map keeps the length.
  const unscaled = transposed(columns)
  const [r, g, b] = apply(inverse(unscaled), whiteOf(white))
  return unscaled.map(([x, y, z]) => [x * r, y * g, z * b]) as unknown as Matrix // The same.
}

/** XYZ of luminance 1. */
function whiteOf([x, y]: readonly [number, number]): Vector {
  return [x / y, 1, (1 - x - y) / y]
}

function apply(matrix: Matrix, [x, y, z]: Vector): Vector {
  const [a, b, c] = matrix.map((row) => row[0] * x + row[1] * y + row[2] * z)
  return [a ?? 0, b ?? 0, c ?? 0]
}

function product(left: Matrix, right: Matrix): Matrix {
  const columns = transposed(right).map((column) => apply(left, column))
  return transposed(columns as unknown as Matrix) // map keeps the length.
}

function transposed([[a, b, c], [d, e, f], [g, h, i]]: Matrix): Matrix {
  return [
    [a, d, g],
    [b, e, h],
    [c, f, i],
  ]
}

function inverse([[a, b, c], [d, e, f], [g, h, i]]: Matrix): Matrix {
  const determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
  const adjugate: Matrix = [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ]
  return adjugate.map((row) => row.map((value) => value / determinant)) as unknown as Matrix // The same.
}
