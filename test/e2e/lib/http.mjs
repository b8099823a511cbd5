// Small HTTP clients: fetch for what it can do, bytes on a socket for what it cannot.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import net from 'node:net';
import {anyOf} from './wait.mjs';

export const user = (content, more = {}) => ({messages: [{role: 'user', content}], ...more});

/** POST /chat/completions. */
export function chat(base, body, {headers = {}, signal, path = '/chat/completions'} = {}) {
  return fetch(base + path, {
    method: 'POST', signal, headers: {'content-type': 'application/json', ...headers},
    body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
  });
}

/** The data of each event, [DONE] as text; comments apart. The stream's form is checked on the way (clients.md S2 to S5). */
export function parseEvents(text) {
  const events = [], comments = [];
  assert.ok(text === '' || text.endsWith('\n\n'), `the stream ends inside an event: ${JSON.stringify(text.slice(-80))}`);
  assert.doesNotMatch(text, /\r/);
  for (const block of text.split('\n\n').slice(0, -1)) {
    const lines = block.split('\n');
    assert.equal(lines.length, 1, `an event of several lines: ${JSON.stringify(block)}`);
    if (block.startsWith(':')) {
      comments.push(block);
      continue;
    }
    assert.match(block, /^data: \S/);
    events.push(block === 'data: [DONE]' ? '[DONE]' : JSON.parse(block.slice(6)));
  }
  return {events, comments};
}

/** A whole streamed answer, checked against the rules that every good stream keeps (S6 to S14). */
export function checkStream(text, {usage = false, n = 1} = {}) {
  const {events} = parseEvents(text);
  assert.equal(events.at(-1), '[DONE]');
  assert.equal(events.filter((e) => e === '[DONE]').length, 1);
  const chunks = events.slice(0, -1);
  const choices = Array.from({length: n}, () => ({content: '', reasoning: '', calls: [], finish: null, role: null, annotations: []}));
  const [first] = chunks;
  let counts = null;
  chunks.forEach((c, i) => {
    assert.deepEqual([c.id, c.object, c.created, c.model], [first.id, 'chat.completion.chunk', first.created, first.model]);
    assert.ok(Number.isInteger(c.created));
    for (const key of ['error', 'message', 'detail']) assert.ok(!(key in c), `a chunk has ${key}`);
    if (usage && i === chunks.length - 1) {
      assert.deepEqual(c.choices, []);
      counts = c.usage;
      assert.equal(counts.total_tokens, counts.prompt_tokens + counts.completion_tokens);
      return;
    }
    if (usage) assert.equal(c.usage, null);
    else assert.ok(!('usage' in c));
    assert.equal(c.choices.length, 1);
    const [{index, delta, finish_reason}] = c.choices;
    const choice = choices[index];
    assert.equal(choice.finish, null, 'something after finish_reason');
    if (choice.role === null) {
      assert.deepEqual(delta, {role: 'assistant', content: ''});
      choice.role = delta.role;
      return;
    }
    assert.ok(!('role' in delta), 'role twice');
    if (finish_reason !== null) {
      assert.deepEqual(delta, {});
      choice.finish = finish_reason;
      return;
    }
    if (delta.content) assert.ok(delta.content.isWellFormed?.() ?? true, 'half a surrogate pair');
    choice.content += delta.content ?? '';
    choice.reasoning += delta.reasoning_content ?? '';
    choice.annotations.push(...(delta.annotations ?? []));
    for (const call of delta.tool_calls ?? []) {
      assert.equal(delta.tool_calls.length, 1);
      if (call.id) {
        assert.equal(choice.calls[call.index], undefined, 'a call begins twice');
        assert.equal(call.type, 'function');
        choice.calls[call.index] = {id: call.id, name: call.function.name, arguments: call.function.arguments};
      } else {
        choice.calls[call.index].arguments += call.function.arguments;
      }
    }
  });
  for (const choice of choices) assert.notEqual(choice.finish, null, 'no finish_reason');
  return {...choices[0], choices, usage: counts, chunks};
}

/** A stream that failed after its head: what came, and the error; neither finish_reason nor [DONE]. */
export function checkBrokenStream(text) {
  const {events} = parseEvents(text);
  const error = events.at(-1);
  assert.ok(error?.error, `no error at the end: ${JSON.stringify(events.slice(-2))}`);
  checkErrorObject(error.error);
  assert.ok(!events.includes('[DONE]'));
  let content = '';
  for (const c of events.slice(0, -1)) {
    assert.equal(c.choices[0].finish_reason, null);
    content += c.choices[0].delta.content ?? '';
  }
  return {content, error: error.error};
}

export function checkErrorObject(error) {
  assert.deepEqual(Object.keys(error).sort(), ['code', 'message', 'param', 'type']);
  assert.equal(typeof error.message, 'string');
  assert.ok(error.message.length > 0 && !error.message.includes('\n'), `message ${JSON.stringify(error.message)}`);
  assert.doesNotMatch(error.message, /<\w+|<!/, 'HTML in a message');
  assert.equal(typeof error.type, 'string');
  assert.equal(typeof error.code, 'string');
}

/** An error answer as the table of design §6 has it. */
export async function checkError(response, {status, type, code, param, retryAfter, noRetry}) {
  const text = await response.text();
  assert.equal(response.status, status, text);
  assert.match(response.headers.get('content-type'), /^application\/json/);
  assert.match(response.headers.get('x-request-id') ?? '', /\S/);
  const body = JSON.parse(text);
  checkErrorObject(body.error);
  assert.equal(body.error.code, code);
  assert.equal(body.error.type, type);
  if (param !== undefined) assert.equal(body.error.param, param);
  if (retryAfter !== undefined) {
    assert.equal(response.headers.get('retry-after'), retryAfter === null ? null : String(retryAfter));
  }
  assert.equal(response.headers.get('x-should-retry'), noRetry ? 'false' : null, 'x-should-retry');
  return body;
}

/** checkError for its error; `wait` = [least, most] seconds of Retry-After. */
export async function refused(response, {wait, ...expected}) {
  const {error} = await checkError(response, expected);
  const seconds = Number(response.headers.get('retry-after'));
  if (wait) assert.ok(seconds >= wait[0] && seconds <= wait[1], `Retry-After ${seconds}`);
  return error;
}

/** A connection of our own: write what you like, read what comes. */
export class Wire {
  static async open(port, {host = '127.0.0.1', allowHalfOpen = true} = {}) {
    const wire = new Wire();
    wire.socket = net.connect({port, host, allowHalfOpen});
    wire.got = Buffer.alloc(0);
    wire.ended = false;
    wire.socket.on('data', (d) => (wire.got = Buffer.concat([wire.got, d])));
    wire.socket.on('end', () => (wire.ended = true));
    wire.socket.on('close', () => (wire.ended = true));
    wire.socket.on('error', (e) => (wire.error = e));
    await once(wire.socket, 'connect');
    wire.socket.setNoDelay(true);
    return wire;
  }

  write(bytes) {
    this.socket.write(bytes);
    return this;
  }

  /** Waits until `fits(text)` or the other side has ended; throws after `ms`. */
  async until(fits, ms = 10000) {
    const end = Date.now() + ms;
    while (!fits(this.got.toString('latin1')) && !this.ended) {
      const left = end - Date.now();
      if (left <= 0) throw new Error(`nothing fitting within ${ms} ms: ${JSON.stringify(this.got.toString('latin1').slice(-300))}`);
      await anyOf(Math.min(left, 500), [this.socket, 'data'], [this.socket, 'end'], [this.socket, 'close']);
    }
    return this.got.toString('utf8');
  }

  /** One answer off the front of what came: {status, reason, headers, body}; waits for all of it. */
  async answer({head = false, ms = 10000} = {}) {
    for (;;) {
      await this.until((t) => t.includes('\r\n\r\n'), ms);
      const end = this.got.indexOf('\r\n\r\n');
      assert.ok(end >= 0, `no answer but ${JSON.stringify(this.got.toString('latin1'))}${this.error ? ` (${this.error.code})` : ''}`);
      const [line, ...rest] = this.got.subarray(0, end).toString('latin1').split('\r\n');
      const [, version, status, reason] = /^HTTP\/(1\.[01]) (\d{3}) (.*)$/.exec(line) ?? assert.fail(`status line ${line}`);
      const headers = {};
      for (const h of rest) {
        const [, name, value] = /^([^:\s]+):\s*(.*?)\s*$/.exec(h) ?? assert.fail(`header ${h}`);
        assert.ok(!(name.toLowerCase() in headers), `header ${name} twice`);
        headers[name.toLowerCase()] = value;
      }
      this.got = this.got.subarray(end + 4);
      if (status === '100') {
        this.continued = true;
        continue;
      }
      const body = head || status === '204' ? Buffer.alloc(0) : await this.#body(headers, ms);
      return {version, status: Number(status), reason, headers, body: body.toString('utf8')};
    }
  }

  async #body(headers, ms) {
    if (headers['transfer-encoding'] === 'chunked') {
      const parts = [];
      for (;;) {
        await this.until((t) => t.includes('\r\n'), ms);
        const end = this.got.indexOf('\r\n');
        const size = parseInt(this.got.subarray(0, end).toString('latin1'), 16);
        assert.ok(end >= 0 && size >= 0, 'a broken chunked body');
        await this.until(() => this.got.length >= end + 4 + size, ms);
        assert.ok(this.got.length >= end + 4 + size, 'the body ends inside a chunk');
        parts.push(this.got.subarray(end + 2, end + 2 + size));
        this.got = this.got.subarray(end + 4 + size);
        if (size === 0) return Buffer.concat(parts);
      }
    }
    if (headers['content-length'] !== undefined) {
      const n = Number(headers['content-length']);
      await this.until(() => this.got.length >= n, ms);
      assert.ok(this.got.length >= n, 'the body is shorter than its Content-Length');
      const body = this.got.subarray(0, n);
      this.got = this.got.subarray(n);
      return body;
    }
    await this.until(() => false, ms).catch(() => {});
    assert.ok(this.ended, 'a body without a length does not end');
    return this.got;
  }

  close() {
    this.socket.destroy();
  }
}

/** One request by hand on a connection of its own; `Connection: close` is up to the caller. */
export async function raw(port, text, options = {}) {
  const wire = await Wire.open(port);
  try {
    wire.write(text);
    return await wire.answer(options);
  } finally {
    wire.close();
  }
}

export const request = (method, path, headers = {}, body = '') => [
  `${method} ${path} HTTP/1.1`,
  ...Object.entries({Host: '127.0.0.1', ...(body ? {'Content-Length': Buffer.byteLength(body)} : {}), ...headers})
    .filter(([, v]) => v !== null).map(([k, v]) => `${k}: ${v}`), '', body].join('\r\n');
