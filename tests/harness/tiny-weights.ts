import { execFile, spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
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
    // Work this small is ten times slower on several threads, which mostly wait for each other.
    OMP_NUM_THREADS: '1',
  }
}
