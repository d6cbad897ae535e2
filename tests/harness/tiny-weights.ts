import { execFile, spawnSync } from 'node:child_process'
import { type FileHandle, open } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const python = resolve(import.meta.dirname, '../../.venv/bin/python')

/** Whether `infinitetalk` can load. CI has set it up and must not skip tests that need it. */
export function hasEnginePackages(): boolean {
  if (process.env['CI']) return true
  const probe =
    'import sys; from importlib.util import find_spec; sys.exit(find_spec("torch") is None)'
  return spawnSync(python, ['-c', probe]).status === 0
}

// One process for both commands: torch takes seconds to import.
const fill = `
import sys
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.__main__ import main as write
from inference_sidecar.weights.__main__ import main as weights
folder = sys.argv[1]
sys.exit(write([folder]) or weights(["prepare", "--dir", folder, "--precision", "fp8", "--no-lora",
    "--recipe", "lightx2v-4"]))
`

/** Fills a folder with tiny random weights, and prepares them as an operator prepares the real ones. */
export async function prepareTinyWeights(folder: string): Promise<void> {
  await run(python, ['-c', fill, folder])
}

/** The environment for `ENGINE=infinitetalk` with such weights: chunks of 17 frames of 48x32 on the CPU. */
export function tinyEngine(folder: string): Record<string, string> {
  return {
    ENGINE: 'infinitetalk',
    MODEL_STORAGE_PATH: folder,
    INFINITETALK_DEVICE: 'cpu',
    INFINITETALK_PRECISION: 'fp8',
    INFINITETALK_SIZE_DIVISOR: '16',
    INFINITETALK_FRAMES: '17',
    INFINITETALK_MOTION_FRAMES: '5',
    INFINITETALK_STEPS: '2',
    INFINITETALK_AUDIO_GUIDE: '1',
    // Random weights render no picture.
    INFINITETALK_CHECK: 'finite',
    // Work this small is ten times slower on several threads, which mostly wait for each other.
    OMP_NUM_THREADS: '1',
  }
}

/**
 * Makes one value of prepared weights no number, as a failing disk or memory might: nothing notices at the
 * start, and every frame that is rendered is black or noise.
 */
export async function breakTinyWeights(folder: string): Promise<void> {
  const file = await open(join(folder, 'resident/transformer-fp8.safetensors'), 'r+')
  try {
    const length = Number((await read(file, 0, 8)).readBigUInt64LE())
    const tensors = JSON.parse((await read(file, 8, length)).toString())
    const { dtype, data_offsets: offsets } = tensors['head.head.bias']
    if (dtype !== 'F32') throw new Error(`The bias of the head is ${dtype}.`)
    await file.write(
      new Uint8Array(new Float32Array([Number.NaN]).buffer),
      0,
      4,
      8 + length + offsets[0],
    )
  } finally {
    await file.close()
  }
}

async function read(file: FileHandle, at: number, bytes: number): Promise<Buffer> {
  return (await file.read(Buffer.alloc(bytes), 0, bytes, at)).buffer
}
