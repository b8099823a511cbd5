// A service that misbehaves on the wire: what it does is the name of the model. For everything that a web server cannot be made
// to do, the bytes are written by hand, below HTTP.
import {once} from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import {certificates} from './certs.mjs';

const CRLF = '\r\n';
const chunk = (content, finish_reason = null) => `data: ${JSON.stringify({id: 'f', object: 'chat.completion.chunk', created: 1, model: 'm',
  choices: [{index: 0, delta: content === null ? {} : {content}, finish_reason}]})}\n\n`;
const WHOLE = chunk('Hello') + chunk(' there') + chunk(null, 'stop') + 'data: [DONE]\n\n';
const http = (bytes) => `${Buffer.byteLength(bytes).toString(16)}${CRLF}${bytes}${CRLF}`;
const HEAD = ['HTTP/1.1 200 OK', 'Content-Type: text/event-stream', 'Transfer-Encoding: chunked', '', ''].join(CRLF);
const LENGTH = (body, type = 'application/json', status = '200 OK') =>
  [`HTTP/1.1 ${status}`, `Content-Type: ${type}`, `Content-Length: ${Buffer.byteLength(body)}`, '', body].join(CRLF);

/** name → what is done with the socket once a whole request has come. */
export const faults = {
  'fine': (s) => s.write(HEAD + http(WHOLE) + http('')),
  'fine-until-close': (s) => s.end(`HTTP/1.1 200 OK${CRLF}Content-Type: text/event-stream${CRLF}Connection: close${CRLF}${CRLF}${WHOLE}`),
  'html-200': (s) => s.write(LENGTH('<!DOCTYPE html><title>Just a moment</title><p>secret page', 'text/html')),
  'html-502': (s) => s.write(LENGTH('<html><h1>502 Bad Gateway</h1>', 'text/html', '502 Bad Gateway')),
  'reset-at-once': (s) => s.resetAndDestroy(),
  'reset-before-text': (s) => {
    s.write(HEAD);
    setTimeout(() => s.resetAndDestroy(), 30);
  },
  'reset-after-text': (s) => {
    s.write(HEAD + http(chunk('Half')));
    setTimeout(() => s.resetAndDestroy(), 60);
  },
  'stall-before-head': () => {},
  'stall-before-text': (s) => s.write(HEAD),
  'stall-after-text': (s) => s.write(HEAD + http(chunk('Half'))),
  'half-close': (s) => s.end(HEAD + http(chunk('Half'))),
  'close-before-head': (s) => s.end(),
  'truncated-chunk': (s) => s.end(HEAD + `400${CRLF}${chunk('Half')}`),
  'truncated-length': (s) => s.end(`HTTP/1.1 200 OK${CRLF}Content-Type: application/json${CRLF}Content-Length: 5000${CRLF}${CRLF}{"choices":[`),
  'bad-chunk-size': (s) => s.write(HEAD + `zz${CRLF}${chunk('x')}${CRLF}`),
  'bad-chunk-after-text': (s) => s.write(HEAD + http(chunk('Half')) + `zz${CRLF}${chunk('x')}${CRLF}`),
  'bad-gzip': (s) => s.write(HEAD.replace('Transfer', `Content-Encoding: gzip${CRLF}Transfer`) + http('not gzip!') + http('')),
  'garbage': (s) => s.write('\x00\x01\x02 this is no HTTP at all\r\n\r\n'),
  'garbage-json': (s) => s.write(LENGTH('{"choices": [')),
  'garbage-events': (s) => s.write(HEAD + http('data: {not json}\n\ndata: {"also": "no choices"}\n\n') + http('')),
  'empty-stream': (s) => s.write(HEAD + http('')),
  'only-done': (s) => s.write(HEAD + http('data: [DONE]\n\n') + http('')),
  'no-finish': (s) => s.write(HEAD + http(chunk('Half')) + http('')),
  'no-content-204': (s) => s.write(`HTTP/1.1 204 No Content${CRLF}${CRLF}`),
  'redirect': (s) => s.write(`HTTP/1.1 302 Found${CRLF}Location: https://elsewhere.example/${CRLF}Content-Length: 0${CRLF}${CRLF}`),
  'endless-line': (s) => {
    s.write(HEAD);
    const piece = http('data: ' + 'x'.repeat(65536));
    const more = () => {
      while (!s.destroyed && s.writable && s.write(piece));
      if (!s.destroyed) s.once('drain', more);
    };
    more();
  },
  'endless-head': (s) => {
    s.write(`HTTP/1.1 200 OK${CRLF}`);
    const piece = `X-Filler: ${'y'.repeat(4000)}${CRLF}`;
    const more = () => {
      while (!s.destroyed && s.writable && s.write(piece));
      if (!s.destroyed) s.once('drain', more);
    };
    more();
  },
  'drip': async (s) => { // one byte a write: every split there is
    for (const byte of Buffer.from(HEAD + http(WHOLE) + http(''))) {
      if (s.destroyed) return;
      s.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
  },
  'continue-first': (s) => s.write(`HTTP/1.1 100 Continue${CRLF}${CRLF}HTTP/1.1 103 Early Hints${CRLF}Link: </x>${CRLF}${CRLF}` + HEAD + http(WHOLE) + http('')),
  'error-in-stream': (s) => s.write(HEAD + http(chunk('Half')) + http('data: {"error":{"message":"the engine stopped","type":"server_error","code":500}}\n\n') + http('')),
  'after-done': (s) => s.write(HEAD + http(WHOLE) + http('data: {"choices":[{"index":0,"delta":{"content":"ghost"}}]}\n\n') + http('')),
  'status-401': (s) => s.write(LENGTH('{"error":{"message":"bad key"}}', 'application/json', '401 Unauthorized')),
  'status-402': (s) => s.write(LENGTH('{"error":{"message":"no credit"}}', 'application/json', '402 Payment Required')),
  'status-404': (s) => s.write(LENGTH('{"error":{"message":"no such model"}}', 'application/json', '404 Not Found')),
  'status-429': (s) => s.write(LENGTH('{"error":{"message":"slow down"}}', 'application/json', `429 Too Many Requests${CRLF}Retry-After: 17`)),
  'status-500': (s) => s.write(LENGTH('{"error":{"message":"boom"}}', 'application/json', '500 Internal Server Error')),
  'status-503': (s) => s.write(LENGTH('{"error":{"message":"busy"}}', 'application/json', `503 Service Unavailable${CRLF}Retry-After: 3`)),
  'status-529': (s) => s.write(LENGTH('{"error":{"message":"overloaded"}}', 'application/json', '529 Overloaded')),
  'context-length': (s) => s.write(LENGTH('{"error":{"message":"This model\'s maximum context length is 10","code":"context_length_exceeded"}}', 'application/json', '400 Bad Request')),
  'content-filter': (s) => s.write(LENGTH('{"error":{"message":"filtered","code":"content_filter"}}', 'application/json', '400 Bad Request')),
};

/** TLS ends without close_notify: the TCP connection is cut below it. */
function truncateTls(socket, tcp) {
  socket.write(HEAD + http(chunk('Half')), () => setTimeout(() => tcp.destroy(), 60));
}

export class FaultsSite {
  constructor({tls: kind = 'good', host = '127.0.0.1'} = {}) {
    Object.assign(this, {kind, host, requests: [], sockets: new Set(), closes: []});
  }

  async start() {
    this.server = net.createServer((tcp) => {
      this.sockets.add(tcp);
      tcp.on('error', () => {});
      tcp.on('close', () => this.sockets.delete(tcp));
      if (!this.kind) return this.#talk(tcp, tcp);
      if (this.kind === 'not-tls') return tcp.write('220 mail.example ESMTP\r\n');
      if (this.kind === 'silent') return undefined;
      const {key, cert} = certificates()[this.kind];
      const socket = new tls.TLSSocket(tcp, {isServer: true, key, cert});
      socket.on('error', () => {});
      this.#talk(socket, tcp);
    });
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = this.server.address().port;
    this.origin = `${this.kind ? 'https' : 'http'}://${this.host}:${this.port}`;
    return this;
  }

  #talk(socket, tcp) {
    let got = Buffer.alloc(0);
    socket.on('data', (bytes) => {
      got = Buffer.concat([got, bytes]);
      const end = got.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = Number(/content-length: (\d+)/i.exec(got.subarray(0, end).toString('latin1'))?.[1] ?? 0);
      if (got.length < end + 4 + length) return;
      const body = got.subarray(end + 4, end + 4 + length).toString();
      const head = got.subarray(0, end).toString('latin1');
      got = got.subarray(end + 4 + length);
      if (head.startsWith('GET ')) return void socket.write(LENGTH(JSON.stringify({object: 'list', data: []})));
      const {model} = JSON.parse(body);
      let left;
      const record = {model, head, body, left: new Promise((resolve) => (left = resolve))};
      tcp.on('close', () => left(Date.now()));
      this.requests.push(record);
      if (model === 'truncated-tls') truncateTls(socket, tcp);
      else if (model === 'reset-at-once' || model.startsWith('reset-')) faults[model](Object.assign(socket, {resetAndDestroy: () => tcp.resetAndDestroy()}));
      else (faults[model] ?? faults.fine)(socket);
    });
  }

  async stop() {
    const closed = once(this.server, 'close');
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  config(more = {}) {
    return {base_url: `${this.origin}/v1`, ...(this.kind ? {ca_file: certificates().ca} : {}), ...more};
  }
}
