// A TCP relay that breaks what it carries, exactly where a test wants it. The gateway stands at one end (`gateway`: 'near', it
// connects to us; 'far', we connect to it), a stand-in site, a proxy or a client at the other.
//
// A fault is {when, way, place, act}: `when` the bytes that go up (from near to far) fit, look from then on at those that go `way`
// ('down' or 'up'), until `place` finds itself among them; what stands before it is still delivered, then the act:
//   reset    RST to the gateway, and to the other side
//   fin      FIN to the gateway, at once behind the last byte; what it says from then on is read and forgotten
//   half     FIN to the gateway, and its bytes still go on to the other side
//   stall    nothing more goes this way, and nothing ends
//   drip     everything else goes byte by byte
//   flip     one bit of the next byte is wrong
// `when` may be 'connect': the act comes before anything else. Each fault strikes once; several wait for their turn.
import {once} from 'node:events';
import net from 'node:net';

const LOOK_BACK = 8192; // bytes of a request among which `when` is looked for

/** RST, whatever still waits to be written. (libuv resets no socket that has sent its FIN: Node.js would never close it.) */
function reset(socket) {
  if (!socket.connecting && !socket.destroyed && !socket.writableEnded) socket.resetAndDestroy();
  socket.destroy();
}

export class Relay {
  /** target: {port}, or a function that says it for each connection. */
  constructor(target, {gateway = 'near'} = {}) {
    Object.assign(this, {target, gateway, faults: [], links: new Set(), connections: 0, struck: 0});
  }

  async start() {
    this.server = net.createServer({allowHalfOpen: true, pauseOnConnect: true}, (near) => this.#link(near));
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = this.server.address().port;
    return this;
  }

  async stop() {
    const closed = once(this.server, 'close');
    this.server.close();
    for (const link of this.links) this.#drop(link);
    await closed;
  }

  /** All connections that there are end, for no reason. */
  sever() {
    for (const {near, far} of this.links) {
      reset(near);
      reset(far);
    }
  }

  /** The next fault. Its `struck` is a promise of the link (whose `answers`
   * says how often it was answered on it), `left` one of the gateway's having ended it thereafter. */
  next({when = /^/, way = 'down', place = places.atOnce, act}) {
    const fault = {when, way, place, act};
    fault.struck = new Promise((resolve) => (fault.strike = resolve));
    fault.left = fault.struck.then((link) => link.gatewayLeft);
    this.faults.push(fault);
    return fault;
  }

  #link(near) {
    this.connections++;
    const far = net.connect({port: (typeof this.target === 'function' ? this.target() : this.target).port, host: '127.0.0.1', allowHalfOpen: true});
    const link = {near, far, asked: '', answers: 0, seen: Buffer.alloc(0), fault: null, mode: {up: 'pass', down: 'pass'}, drips: {up: [], down: []}};
    link.ours = this.gateway === 'near' ? near : far; // the end that the gateway holds
    link.gatewayLeft = new Promise((resolve) => ['end', 'close'].map((event) => link.ours.once(event, () => resolve(Date.now()))));
    this.links.add(link);
    for (const [socket, other, way] of [[near, far, 'up'], [far, near, 'down']]) {
      socket.setNoDelay(true);
      socket.on('data', (bytes) => this.#carry(link, way, bytes));
      socket.on('end', () => this.#ended(link, way, other));
      socket.on('error', () => reset(other));
      socket.on('close', () => {
        if (link.mode.up !== 'stop' || socket === link.ours) other.destroy();
        if (near.destroyed && far.destroyed) this.links.delete(link);
      });
    }
    const first = this.faults.findIndex(({when}) => when === 'connect');
    if (first >= 0) this.#strike(link, this.faults.splice(first, 1)[0]);
    near.resume();
  }

  #drop(link) {
    link.near.destroy();
    link.far.destroy();
  }

  #ends(link, way) {
    return way === 'up' ? [link.near, link.far] : [link.far, link.near];
  }

  #ended(link, way, to) {
    if (link.mode[way] === 'drip') link.drips[way].push(null);
    else if (link.mode[way] === 'pass') to.end();
  }

  /** Which of the faults is this link's, now that more was asked? */
  #look(link, bytes) {
    if (link.answered) {
      link.asked = '';
      if (link.mode.down === 'drip' && !link.drips.down.length) link.mode.down = 'pass'; // that was for the answer before
    }
    link.answered = false;
    link.asked = (link.asked + bytes.toString('latin1')).slice(-LOOK_BACK);
    if (link.fault) return;
    const i = this.faults.findIndex(({when}) => when !== 'connect' && when.test(link.asked));
    if (i >= 0) [link.fault] = this.faults.splice(i, 1);
  }

  #carry(link, way, bytes) {
    if (way === 'up') this.#look(link, bytes);
    else if (!link.answered) {
      link.answered = true;
      link.answers++;
    }
    if (link.fault?.way === way) {
      const before = link.seen.length;
      link.seen = Buffer.concat([link.seen, bytes]);
      const at = link.fault.place(link.seen);
      if (at >= 0) {
        const cut = Math.max(0, at - before);
        return this.#strike(link, link.fault, bytes.subarray(0, cut), bytes.subarray(cut));
      }
    }
    this.#pass(link, way, bytes);
  }

  #pass(link, way, bytes) {
    const [from, to] = this.#ends(link, way), mode = link.mode[way];
    if (mode === 'stop' || !bytes.length || !to.writable) return;
    if (mode === 'drip') return void link.drips[way].push(...bytes);
    if (!to.write(bytes)) {
      from.pause();
      to.once('drain', () => from.resume());
    }
  }

  #strike(link, fault, before = Buffer.alloc(0), after = Buffer.alloc(0)) {
    const {act, way} = fault, [, to] = this.#ends(link, way);
    Object.assign(link, {fault: null, seen: Buffer.alloc(0)});
    this.struck++;
    this.#pass(link, way, before);
    switch (act) {
    case 'reset':
      // Behind the bytes that were written, which a reset overtakes only where nobody reads them.
      link.mode = {up: 'stop', down: 'stop'};
      reset(link.near);
      reset(link.far);
      break;
    case 'fin':
      link.mode = {up: 'stop', down: 'stop'};
      link.ours.end();
      (link.ours === link.near ? link.far : link.near).destroy();
      break;
    case 'half':
      link.ours.end();
      link.mode[link.ours === link.near ? 'down' : 'up'] = 'stop';
      break;
    case 'stall':
      link.mode[way] = 'stop';
      break;
    case 'drip':
      link.mode[way] = 'drip';
      this.#pass(link, way, after);
      this.#drip(link, way, to);
      break;
    case 'flip':
      after = Buffer.from(after);
      after[0] ^= 1;
      this.#pass(link, way, after);
      break;
    default:
      throw new Error(`no such act: ${act}`);
    }
    fault.strike(link);
  }

  async #drip(link, way, to) {
    const waiting = link.drips[way];
    while (!to.destroyed && link.mode[way] === 'drip') {
      while (waiting.length) {
        const byte = waiting.shift();
        if (byte === null) return void to.end();
        if (!to.writable) return;
        to.write(Buffer.from([byte]));
        await new Promise(setImmediate);
      }
      await new Promise((resolve) => setTimeout(resolve, 2)); // until more comes
    }
  }
}

const CRLF2 = Buffer.from('\r\n\r\n');
const headEnd = (b) => (b.indexOf(CRLF2) < 0 ? -1 : b.indexOf(CRLF2) + 4);
const reached = (b, at) => (at >= 0 && b.length > at ? at : -1);

/** The chunks of a chunked body of which at least the size is there: [start, end, size] with their line and end. */
function chunks(b) {
  const list = [];
  for (let at = headEnd(b); at > 0 && at < b.length;) {
    const line = b.indexOf('\r\n', at);
    if (line < 0) break;
    const size = parseInt(b.subarray(at, line).toString('latin1'), 16), body = line + 2;
    list.push({at, body, size, end: body + size + 2});
    if (size === 0) break;
    at = body + size + 2;
  }
  return list;
}

/** Where a fault strikes, as functions of all bytes since its `when`: a place among them, or -1 if it has not come yet. */
export const places = {
  atOnce: () => 0,
  byte: (n) => (b) => reached(b, n),
  inHead: (b) => reached(b, 25),
  afterHead: (b) => headEnd(b),
  /** Behind the n-th chunk (from 1) of a chunked body. */
  behindChunk: (n) => (b) => {
    const chunk = chunks(b)[n - 1];
    return chunk && b.length >= chunk.end ? chunk.end : -1;
  },
  insideChunk: (n) => (b) => {
    const chunk = chunks(b)[n - 1];
    return chunk ? reached(b, chunk.body + (chunk.size >> 1)) : -1;
  },
  /** All of the body is there, but for the mark of its end. */
  beforeEnd: (b) => chunks(b).find(({size}) => size === 0)?.at ?? -1,
  afterEnd: (b) => {
    const end = chunks(b).find(({size}) => size === 0)?.end;
    return end !== undefined && b.length >= end ? end : -1;
  },
  /** In the middle of a body with a Content-Length. */
  midBody: (b) => {
    const head = headEnd(b), [, n] = /content-length: (\d+)/i.exec(b.subarray(0, Math.max(head, 0)).toString('latin1')) ?? [];
    return n ? reached(b, head + (n >> 1)) : -1;
  },
  /** Behind the n-th TLS record, or `inside` bytes into it (its head is 5 bytes). `type`: 22 handshake, 23 application data. */
  tlsRecord: (n, {inside, type} = {}) => (b) => {
    let left = n;
    for (let at = 0; at + 5 <= b.length;) {
      const end = at + 5 + b.readUInt16BE(at + 3);
      if ((type === undefined || b[at] === type) && --left === 0) return inside === undefined ? (b.length >= end ? end : -1) : reached(b, at + inside);
      at = end;
    }
    return -1;
  },
};
