// The program with an allocator that refuses on purpose (test/memory/short_memory.h), armed while it runs through a file that both
// see: `struct memory_plan`, eight little-endian 64-bit numbers.
import {closeSync, existsSync, mkdtempSync, openSync, readSync, rmSync, writeSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {binary} from './gateway.mjs';

const LIBRARY = join(dirname(binary), 'libshort_memory.so');
const WORDS = 8, EVERYBODY = 3n;
export const ALL = 2n ** 64n - 1n;
export const canRefuse = existsSync(LIBRARY);

export class Memory {
  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'dragoman-memory-'));
    this.file = join(this.directory, 'plan');
    this.fd = openSync(this.file, 'w+');
    this.disarm();
  }

  /** For the gateway's environment. */
  env(more = {}) {
    return {
      LD_PRELOAD: LIBRARY, SHORT_MEMORY_PLAN: this.file,
      ASAN_OPTIONS: 'detect_leaks=1:exitcode=99:handle_abort=1:verify_asan_link_order=0', ...more,
    };
  }

  /** From now on allocations are counted; the `at`-th, and n - 1 behind it, are refused. */
  arm(at = 0, n = 1n) {
    this.#write([1n, BigInt(at), BigInt(n), EVERYBODY, 0n, 0n, 0n, 0n]);
  }

  /** {counted, refused} since it was armed. */
  disarm() {
    const words = this.#read();
    this.#write([0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n]);
    return {counted: Number(words[4]), refused: Number(words[5])};
  }

  close() {
    closeSync(this.fd);
    rmSync(this.directory, {recursive: true, force: true});
  }

  // `armed` is the first word: written last, cleared first.
  #write(words) {
    const bytes = new BigUint64Array(words), rest = new Uint8Array(bytes.buffer, 8);
    if (!words[0]) writeSync(this.fd, new Uint8Array(bytes.buffer, 0, 8), 0, 8, 0);
    writeSync(this.fd, rest, 0, rest.length, 8);
    writeSync(this.fd, new Uint8Array(bytes.buffer, 0, 8), 0, 8, 0);
  }

  #read() {
    const bytes = new BigUint64Array(WORDS);
    readSync(this.fd, new Uint8Array(bytes.buffer), 0, 8 * WORDS, 0);
    return bytes;
  }
}

/** Of 1 … all: at most `runs`, half of them the first ones, the others evenly spread. */
export function places(all, runs) {
  const list = [];
  const stride = all > runs ? Math.ceil((all - runs / 2) * 2 / (runs + 1)) : 1;
  for (let at = 1; at <= all; at += at < runs / 2 ? 1 : stride) list.push(at);
  return list;
}
