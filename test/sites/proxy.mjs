// Stand-in for a proxy: HTTP CONNECT or SOCKS5, with or without a password. It sends its tunnels to one place, whatever they asked
// for, and keeps what they asked for.
import {once} from 'node:events';
import net from 'node:net';

export class Proxy {
  /** kind: 'http' or 'socks'; login: 'user:password' or null; answer: an HTTP status or a SOCKS code other than "go ahead". */
  constructor(kind, target, {login = null, answer = null} = {}) {
    Object.assign(this, {kind, target, login, answer, asked: [], sockets: new Set(), left: 0});
  }

  async start() {
    this.server = net.createServer((socket) => {
      this.sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.sockets.delete(socket));
      this.#talk(socket).catch(() => socket.destroy());
    });
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = this.server.address().port;
    return this;
  }

  url(scheme, login = this.login) {
    const secret = login ? `${login.split(':').map(encodeURIComponent).join(':')}@` : '';
    return `${scheme}://${secret}127.0.0.1:${this.port}`;
  }

  async stop() {
    const closed = once(this.server, 'close');
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  async #talk(socket) {
    const reader = new Reader(socket);
    if (!(await (this.kind === 'http' ? this.#http(socket, reader) : this.#socks(socket, reader)))) return socket.end();
    const up = net.connect(this.target.port, '127.0.0.1');
    up.on('error', () => socket.destroy());
    up.on('close', () => socket.destroy());
    socket.on('close', () => {
      this.left++;
      up.destroy();
    });
    this.sockets.add(up);
    up.write(reader.rest());
    return void socket.pipe(up).pipe(socket);
  }

  async #http(socket, reader) {
    const head = await reader.until('\r\n\r\n');
    const [line, ...headers] = head.trimEnd().split('\r\n');
    const [, where] = /^CONNECT (\S+) HTTP\/1\.1$/.exec(line);
    this.asked.push({where, headers});
    const secret = headers.map((h) => /^proxy-authorization: basic (\S+)$/i.exec(h)?.[1]).find(Boolean);
    if (this.login && Buffer.from(secret ?? '', 'base64').toString() !== this.login) {
      socket.write('HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n');
      return false;
    }
    if (this.answer) {
      socket.write(`HTTP/1.1 ${this.answer} Refused\r\nContent-Type: text/html\r\n\r\n<html>secret page</html>`);
      return false;
    }
    socket.write('HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n');
    return true;
  }

  async #socks(socket, reader) {
    const [version, count] = await reader.take(2);
    const methods = [...await reader.take(count)];
    const wanted = this.login ? 2 : 0;
    if (version !== 5 || !methods.includes(wanted)) {
      socket.write(Buffer.from([5, 0xff]));
      return false;
    }
    socket.write(Buffer.from([5, wanted]));
    if (this.login) {
      const [, n] = await reader.take(2);
      const user = (await reader.take(n)).toString();
      const password = (await reader.take((await reader.take(1))[0])).toString();
      const good = `${user}:${password}` === this.login;
      socket.write(Buffer.from([1, good ? 0 : 1]));
      if (!good) return false;
    }
    const [, command, , type] = await reader.take(4);
    const host = type === 1 ? [...await reader.take(4)].join('.') : type === 4 ? (await reader.take(16)).toString('hex')
      : (await reader.take((await reader.take(1))[0])).toString();
    const port = (await reader.take(2)).readUInt16BE();
    this.asked.push({where: `${host}:${port}`, type, command});
    socket.write(Buffer.from([5, this.answer ?? 0, 0, 3, 4, ...Buffer.from('here'), 0, 80])); // the bound address as a name: its length counts
    return !this.answer;
  }
}

/** Bytes off a socket, so many at a time. */
class Reader {
  constructor(socket) {
    Object.assign(this, {socket, got: Buffer.alloc(0)});
    this.listener = (bytes) => {
      this.got = Buffer.concat([this.got, bytes]);
    };
    socket.on('data', this.listener);
  }

  async #fill(enough) {
    while (!enough()) await once(this.socket, 'data', {signal: AbortSignal.timeout(5000)});
  }

  async take(n) {
    await this.#fill(() => this.got.length >= n);
    const piece = this.got.subarray(0, n);
    this.got = this.got.subarray(n);
    return piece;
  }

  async until(mark) {
    await this.#fill(() => this.got.includes(mark));
    return (await this.take(this.got.indexOf(mark) + mark.length)).toString('latin1');
  }

  /** What came too early; from here on the socket is the caller's. */
  rest() {
    this.socket.off('data', this.listener);
    this.socket.pause();
    return this.got;
  }
}
