// Makes build/o200k.ranks out of the npm package's list of tokens: what gateway/tokenizer.c maps into memory and reads.
//
//   node scripts/ranks/make.mjs OUTPUT
//
// All numbers are little-endian and 32 bits wide unless said otherwise:
//   "DGRANKS1", n_tokens, n_slots, n_blocks, n_bytes
//   starts[n_tokens + 1]   where a token begins in bytes[]; a token's number is its rank
//   slots[n_slots]         hash table over the tokens: rank + 1, 0 = empty; next slot on a collision
//   blocks[0x1100]         code point / 256 -> block of classes
//   classes[n_blocks][256] one byte a code point, see CLASSES
//   bytes[n_bytes]
import {readFileSync, renameSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';

// The bits by which the pattern of o200k tells characters apart.
const CLASSES = [
  [1, /[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]/u], // may stand in a word's upper-case part
  [2, /[\p{Ll}\p{Lm}\p{Lo}\p{M}]/u], // … in its lower-case part
  [4, /\p{L}/u],
  [8, /\p{N}/u],
  [16, /\p{White_Space}/u],
];

function readTokens() {
  const {bpe_ranks: text} = JSON.parse(readFileSync(createRequire(import.meta.url).resolve('tiktoken/encoders/o200k_base.json'), 'utf8'));
  const tokens = [];
  for (const line of text.split('\n').filter(Boolean)) {
    const [, first, ...list] = line.split(' ');
    list.forEach((word, i) => (tokens[Number(first) + i] = Buffer.from(word, 'base64')));
  }
  for (let i = 0; i < tokens.length; i++) tokens[i] ??= Buffer.alloc(0); // a gap stands for nothing
  return tokens;
}

function classOf(codePoint) {
  if (codePoint >= 0xd800 && codePoint < 0xe000) return 0;
  const text = String.fromCodePoint(codePoint);
  return CLASSES.reduce((bits, [bit, pattern]) => (pattern.test(text) ? bits | bit : bits), 0);
}

function classTable() {
  const blocks = [], known = new Map(), content = [];
  for (let block = 0; block < 0x1100; block++) {
    const classes = Buffer.from(Array.from({length: 256}, (_, i) => classOf(block * 256 + i)));
    const name = classes.toString('latin1');
    if (!known.has(name)) {
      known.set(name, content.length);
      content.push(classes);
    }
    blocks.push(known.get(name));
  }
  return {blocks, content};
}

function hash(bytes) { // FNV-1a
  let h = 0x811c9dc5;
  for (const byte of bytes) h = Math.imul(h ^ byte, 0x01000193);
  return h >>> 0;
}

function hashTable(tokens) {
  const slots = new Uint32Array(1 << 19);
  tokens.forEach((token, rank) => {
    let at = hash(token) & (slots.length - 1);
    while (token.length && slots[at]) at = (at + 1) & (slots.length - 1);
    if (token.length) slots[at] = rank + 1;
  });
  return slots;
}

function words(list) {
  const bytes = Buffer.alloc(list.length * 4);
  list.forEach((value, i) => bytes.writeUInt32LE(value, i * 4));
  return bytes;
}

const tokens = readTokens();
if (tokens.length < 199000) throw new Error(`only ${tokens.length} tokens in the package: has its format changed?`);
const {blocks, content} = classTable();
const slots = hashTable(tokens);
const starts = [0];
for (const token of tokens) starts.push(starts.at(-1) + token.length);

const [, , output] = process.argv;
const file = Buffer.concat([
  Buffer.from('DGRANKS1'), words([tokens.length, slots.length, content.length, starts.at(-1)]),
  words(starts), words(Array.from(slots)), words(blocks), ...content, ...tokens,
]);
writeFileSync(`${output}.new`, file);
renameSync(`${output}.new`, output);
