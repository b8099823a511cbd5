// Bytes on a socket, exactly as given and in the pieces that are wanted; answers taken apart by the letter of RFC 9112. Nothing
// here is kind: a byte too many behind an answer, a header twice or a body without an end fails the test.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {readFileSync, readdirSync} from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';
import {checkErrorObject, user} from './http.mjs';
import {anyOf} from './wait.mjs';

const bytesOf = (text) => (typeof text === 'string' ? Buffer.from(text, 'utf8') : Buffer.from(text));

export class RawClient {
  static async open(port, {secure = false, localAddress} = {}) {
    const client = new RawClient();
    client.tcp = net.connect({port, host: '127.0.0.1', localAddress, allowHalfOpen: true});
    client.socket = client.tcp;
    client.buffer = Buffer.alloc(0);
    client.ended = false;
    client.tcp.on('error', (e) => (client.error = e));
    await once(client.tcp, 'connect');
    client.tcp.setNoDelay(true);
    if (secure) {
      client.socket = tls.connect({socket: client.tcp, rejectUnauthorized: false});
      client.socket.on('error', (e) => (client.error = e));
      await once(client.socket, 'secureConnect');
    }
    client.socket.on('data', (d) => (client.buffer = client.buffer.length ? Buffer.concat([client.buffer, d]) : d));
    for (const event of ['end', 'close']) client.socket.on(event, () => (client.ended = true));
    return client;
  }

  /** Each piece in a segment of its own, as far as that is in our hands. */
  async send(...pieces) {
    for (const piece of pieces) {
      if (!this.socket.writable) return this;
      await new Promise((done) => this.socket.write(bytesOf(piece), done));
      if (pieces.length > 1) await new Promise(setImmediate);
    }
    return this;
  }

  /** In pieces of `size` bytes. */
  sendBy(size, text) {
    const bytes = bytesOf(text), pieces = [];
    for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
    return this.send(...pieces);
  }

  fin() {
    this.socket.end();
    return this;
  }

  rst() {
    this.tcp.resetAndDestroy();
  }

  close() {
    this.tcp.destroy();
  }

  async #until(fits, ms, what) {
    const end = Date.now() + ms;
    while (!fits()) {
      const left = end - Date.now();
      const seen = () => `${JSON.stringify(this.buffer.toString('latin1').slice(0, 300))}${this.error ? ` (${this.error.code})` : ''}`;
      assert.ok(!this.ended, `the connection ended before ${what}; left over: ${seen()}`);
      assert.ok(left > 0, `no ${what} within ${ms} ms; so far: ${seen()}`);
      await anyOf(left, [this.socket, 'data'], [this.socket, 'end'], [this.socket, 'close']);
    }
  }

  async #take(n, ms, what) {
    await this.#until(() => this.buffer.length >= n, ms, what);
    const taken = this.buffer.subarray(0, n);
    this.buffer = this.buffer.subarray(n);
    return taken;
  }

  async #line(ms, what) {
    await this.#until(() => this.buffer.includes('\r\n'), ms, what);
    const line = await this.#take(this.buffer.indexOf('\r\n') + 2, ms, what);
    return line.subarray(0, -2).toString('latin1');
  }

  /** The next answer: {status, reason, headers, text, continues}; `continues` counts the 100s before it. */
  async answer({head = false, ms = 10000, continues = 0} = {}) {
    await this.#until(() => this.buffer.includes('\r\n\r\n'), ms, 'the head of an answer');
    const [, status, reason] = /^HTTP\/1\.1 (\d{3}) (\S.*)$/.exec(await this.#line(ms, 'a status line')) ?? assert.fail('no status line');
    const headers = {};
    for (;;) {
      const line = await this.#line(ms, 'a header');
      if (!line) break;
      const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t\x20-\x7e\x80-\xff]*)$/.exec(line) ?? assert.fail(`header ${JSON.stringify(line)}`);
      assert.ok(!(name.toLowerCase() in headers), `header ${name} twice`);
      headers[name.toLowerCase()] = value;
    }
    if (status === '100') {
      assert.deepEqual(headers, {});
      return this.answer({head, ms, continues: continues + 1});
    }
    assert.ok(!('content-length' in headers && 'transfer-encoding' in headers), 'a length and a coding');
    const bodiless = head || status === '204' || status === '304';
    const body = bodiless ? Buffer.alloc(0) : await this.#body(headers, ms);
    return {status: Number(status), reason, headers, text: body.toString('utf8'), continues};
  }

  /** Waits for a 100 Continue and nothing else; it is left for answer() to count. */
  async isWelcome() {
    const go = 'HTTP/1.1 100 Continue\r\n\r\n';
    await this.#until(() => this.buffer.length >= go.length, 10000, '100 Continue');
    assert.equal(this.buffer.toString('latin1'), go);
  }

  async #body(headers, ms) {
    if ('content-length' in headers) {
      assert.match(headers['content-length'], /^\d+$/);
      return this.#take(Number(headers['content-length']), ms, 'the end of a body with a length');
    }
    if ('transfer-encoding' in headers) {
      assert.equal(headers['transfer-encoding'], 'chunked');
      const parts = [];
      for (;;) {
        const line = await this.#line(ms, 'a chunk size');
        assert.match(line, /^[0-9a-f]{1,8}$/);
        const size = parseInt(line, 16);
        parts.push(await this.#take(size, ms, 'the end of a chunk'));
        assert.equal((await this.#take(2, ms, 'the end of a chunk')).toString(), '\r\n');
        if (size === 0) return Buffer.concat(parts);
      }
    }
    assert.equal(headers.connection, 'close', 'a body that ends with the connection, which does not end');
    return this.rest(ms);
  }

  /** Everything up to the server's FIN, or its RST. */
  async rest(ms = 10000) {
    const end = Date.now() + ms;
    while (!this.ended) {
      assert.ok(Date.now() < end, `the connection is still open after ${ms} ms`);
      await anyOf(end - Date.now(), [this.socket, 'end'], [this.socket, 'close']);
    }
    const rest = this.buffer;
    this.buffer = Buffer.alloc(0);
    return rest;
  }

  /** The server ends the connection, without another byte, and not by a reset. */
  async isClosed(ms = 5000) {
    assert.equal((await this.rest(ms)).toString('latin1'), '', 'bytes after the last answer');
    assert.equal(this.error, undefined, `ended by ${this.error?.code}`);
  }

  /** The connection takes a further request, and answers nothing else before it. */
  async isUsable() {
    assert.equal(this.buffer.toString('latin1'), '', 'bytes after the last answer');
    await this.send(get('/health'));
    const {status, text} = await this.answer();
    assert.deepEqual([status, JSON.parse(text).status], [200, 'ok']);
  }
}

/** A request to the letter: `headers` are whole lines (Host is there unless `host` is null), the body as it is. */
export function head(line, headers = [], {host = '127.0.0.1'} = {}) {
  return [line, ...(host === null ? [] : [`Host: ${host}`]), ...headers, '', ''].join('\r\n');
}

export const get = (target, headers = [], options = {}) => head(`GET ${target} HTTP/1.1`, headers, options);

export function post(body, headers = [], {target = '/v1/chat/completions', version = '1.1', length = true, host} = {}) {
  const text = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
  const lines = ['Content-Type: application/json', ...(length ? [`Content-Length: ${Buffer.byteLength(text)}`] : []), ...headers];
  return Buffer.concat([bytesOf(head(`POST ${target} HTTP/${version}`, lines, {host})), bytesOf(text)]);
}

export const echo = (text, more = {}) => ({model: 'demo/echo', ...user(text), ...more});

/** In the chunked coding, in chunks of `size` bytes. */
export function chunked(body, size = 1 << 20, {trailers = [], extension = ''} = {}) {
  const bytes = bytesOf(body), parts = [];
  for (let at = 0; at < bytes.length; at += size) {
    const piece = bytes.subarray(at, at + size);
    parts.push(bytesOf(`${piece.length.toString(16)}${extension}\r\n`), piece, bytesOf('\r\n'));
  }
  return Buffer.concat([...parts, bytesOf(['0', ...trailers, '', ''].join('\r\n'))]);
}

/** An error answer in the one shape that there is. */
export function isError({status, reason, headers, text}, wanted, code, type = 'invalid_request_error') {
  assert.equal(status, wanted, text);
  assert.match(headers['content-type'], /^application\/json/);
  assert.match(headers['x-request-id'] ?? '', /^\S+$/);
  assert.match(reason, /^[A-Z]/);
  const {error, ...others} = JSON.parse(text);
  assert.deepEqual(others, {});
  checkErrorObject(error);
  assert.deepEqual([error.code, error.type], [code, type], text);
  return error;
}

export const contentOf = ({text}) => JSON.parse(text).choices[0].message.content;

/** What the process holds: open files, and memory in kB. */
export function held(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return {files: readdirSync(`/proc/${pid}/fd`).length, kB: Number(/VmRSS:\s+(\d+)/.exec(status)[1])};
}
