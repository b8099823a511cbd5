// A name server that is slow, silent or wrong, and what a process needs to ask it: a mount namespace of its own in which
// /etc/resolv.conf names ours. It listens at an address of its own within 127/8, as resolv.conf knows no ports.
import {execFileSync} from 'node:child_process';
import dgram from 'node:dgram';
import {once} from 'node:events';
import {writeFileSync} from 'node:fs';
import {join} from 'node:path';

const A = 1;

/** Why this cannot be done here, or null. */
export function namespacesMissing() {
  if (process.getuid() !== 0) return 'only root may mount';
  try {
    execFileSync('unshare', ['-m', '--propagation', 'private', 'mount', '--bind', '/tmp', '/tmp'], {stdio: 'ignore'});
    return null;
  } catch {
    return 'no mount namespaces here (a container without the right to mount?)';
  }
}

export class NameServer {
  /** names → {delay: ms} | 'nothing' (NXDOMAIN) | 'failure' | 'silent' | 'garbage' | 'truncated'; the good ones are at 127.0.0.1. */
  constructor(names) {
    Object.assign(this, {names, asked: [], timers: new Set()});
  }

  /** Rejects where nobody may listen on port 53. */
  async start() {
    this.address = `127.${100 + process.pid % 100}.${process.pid >> 8 & 255}.${1 + process.pid % 250}`;
    this.socket = dgram.createSocket('udp4', (question, from) => this.#answer(question, from));
    this.socket.bind(53, this.address);
    await once(this.socket, 'listening');
    return this;
  }

  async stop() {
    for (const timer of this.timers) clearTimeout(timer);
    this.socket.close();
  }

  /** What to start instead of `program`, so that it asks here. `directory`: for our resolv.conf. */
  wrap(program, args, directory) {
    const file = join(directory, 'resolv.conf');
    writeFileSync(file, `nameserver ${this.address}\noptions timeout:2 attempts:1\n`);
    return ['unshare', ['-m', '--propagation', 'private', 'sh', '-c', `mount --bind ${file} /etc/resolv.conf && exec "$0" "$@"`, program, ...args]];
  }

  #answer(question, from) {
    let at = 12;
    const labels = [];
    while (question[at]) {
      labels.push(question.subarray(at + 1, at + 1 + question[at]).toString('latin1'));
      at += 1 + question[at];
    }
    const name = labels.join('.').toLowerCase(), type = question.readUInt16BE(at + 1), end = at + 5;
    this.asked.push(name);
    const what = this.names[name] ?? 'nothing';
    if (what === 'silent') return;
    const good = typeof what === 'object' && type === A;
    const head = Buffer.from(question.subarray(0, 12));
    head.writeUInt16BE(0x8180 | {nothing: 3, failure: 2, truncated: 0x0200}[what], 2);
    head.writeUInt16BE(good ? 1 : 0, 6);
    head.fill(0, 8);
    const record = Buffer.from([0xc0, 12, 0, A, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]); // not to be kept
    const answer = what === 'garbage' ? Buffer.from('\x00\x01this is no answer') : Buffer.concat([head, question.subarray(12, end), ...(good ? [record] : [])]);
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      this.socket.send(answer, from.port, from.address);
    }, what.delay ?? 0);
    this.timers.add(timer);
  }
}
