// Chance that can be had again: everything follows from a seed, which is said.

/** mulberry32 */
export function generator(seed) {
  let state = seed >>> 0;
  const random = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  /** An integer from `least` to `most`. */
  random.between = (least, most) => least + Math.floor(random() * (most - least + 1));
  random.chance = (share) => random() < share;
  random.of = (list) => list[Math.floor(random() * list.length)];
  return random;
}

export const seedOf = (text) => (text === undefined || text === '' ? Math.floor(Math.random() * 2 ** 32) : Number(text) >>> 0);
