/** From which peak on a recording is no silence, and from which it is not too quiet: shares of full scale. */
export type SoundLevels = { readonly silentPeak: number; readonly quietPeak: number }

/** How loud a recording is. Every level is half the distance from the lowest to the highest sample. */
export type SoundMeasures = {
  /** Of the louder channel, 1 being full scale. A constant offset is silence. */
  readonly peak: number
  /** How long it is louder than silence, and how long than a quiet voice. */
  readonly soundSeconds: number
  readonly audibleSeconds: number
  /** How long its two channels cancel each other: a listener with one loudspeaker hears nothing. */
  readonly cancelledSeconds: number
}

const fullScale = 2 ** 15
const blocksPerSecond = 100
/** The sum of two channels counts as cancelled at 9 dB below the louder one. A voice in one channel alone is at 6 dB. */
const cancelledShare = 0.35

/** Measures 16-bit samples, block by block of a hundredth of a second. */
export class SoundMeter {
  readonly #channels: number
  readonly #levels: SoundLevels
  readonly #blockSamples: number
  #missing: number
  /** The range of a block, by channel and of their sum. */
  readonly #low = [0, 0, 0]
  readonly #high = [0, 0, 0]
  readonly #lowest = [fullScale, fullScale]
  readonly #highest = [-fullScale, -fullScale]
  #sound = 0
  #audible = 0
  #cancelled = 0

  constructor(layout: { sampleRate: number; channels: number }, levels: SoundLevels) {
    const { sampleRate, channels } = layout
    this.#channels = channels
    this.#levels = levels
    this.#blockSamples = Math.ceil(sampleRate / blocksPerSecond) * channels
    this.#missing = this.#blockSamples
    this.#reset()
  }

  /** Whole frames: as many samples of each channel. */
  add(samples: Int16Array): void {
    for (let from = 0; from < samples.length; ) {
      const to = Math.min(from + this.#missing, samples.length)
      if (this.#channels === 1) this.#rangeOfOne(samples, from, to)
      else this.#rangeOfTwo(samples, from, to)
      this.#missing -= to - from
      from = to
      if (this.#missing === 0) this.#endBlock()
    }
  }

  measures(): SoundMeasures {
    if (this.#missing < this.#blockSamples) this.#endBlock()
    const ranges = this.#highest.map((high, at) => high - (this.#lowest[at] ?? 0))
    return {
      peak: Math.max(0, ...ranges) / 2 / fullScale,
      soundSeconds: this.#sound / blocksPerSecond,
      audibleSeconds: this.#audible / blocksPerSecond,
      cancelledSeconds: this.#cancelled / blocksPerSecond,
    }
  }

  // The two loops see every sample of every upload. Local variables make them twice as quick.
  #rangeOfOne(samples: Int16Array, from: number, to: number) {
    let [low, high] = [this.#low[0] ?? 0, this.#high[0] ?? 0]
    for (let at = from; at < to; at++) {
      const sample = samples[at] ?? 0
      if (sample < low) low = sample
      if (sample > high) high = sample
    }
    this.#low[0] = low
    this.#high[0] = high
  }

  #rangeOfTwo(samples: Int16Array, from: number, to: number) {
    let [lowLeft = 0, lowRight = 0, lowSum = 0] = this.#low
    let [highLeft = 0, highRight = 0, highSum = 0] = this.#high
    for (let at = from; at < to; at += 2) {
      const left = samples[at] ?? 0
      const right = samples[at + 1] ?? 0
      const sum = left + right
      if (left < lowLeft) lowLeft = left
      if (left > highLeft) highLeft = left
      if (right < lowRight) lowRight = right
      if (right > highRight) highRight = right
      if (sum < lowSum) lowSum = sum
      if (sum > highSum) highSum = sum
    }
    this.#low.splice(0, 3, lowLeft, lowRight, lowSum)
    this.#high.splice(0, 3, highLeft, highRight, highSum)
  }

  #endBlock() {
    const [left = 0, right = 0, sum = 0] = this.#high.map((high, at) => high - (this.#low[at] ?? 0))
    const level = (this.#channels === 1 ? left : Math.max(left, right)) / 2 / fullScale
    for (let at = 0; at < this.#channels; at++) {
      this.#lowest[at] = Math.min(this.#lowest[at] ?? 0, this.#low[at] ?? 0)
      this.#highest[at] = Math.max(this.#highest[at] ?? 0, this.#high[at] ?? 0)
    }
    if (level >= this.#levels.silentPeak) {
      this.#sound += 1
      if (this.#channels === 2 && sum / 4 / fullScale < cancelledShare * level) this.#cancelled += 1
    }
    if (level >= this.#levels.quietPeak) this.#audible += 1
    this.#missing = this.#blockSamples
    this.#reset()
  }

  #reset() {
    this.#low.fill(2 * fullScale)
    this.#high.fill(-2 * fullScale)
  }
}
