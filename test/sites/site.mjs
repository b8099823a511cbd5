// What all stand-ins share: a real TLS server that looks at every request as strictly as the dossier lets it, keeps what came,
// and can be told what to answer next.
import {EventEmitter, once} from 'node:events';
import http from 'node:http';
import https from 'node:https';
import {certificates} from './certs.mjs';
import {listen, unlisten} from './listener.mjs';

const FOREIGN = ['cookie', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip', 'forwarded', 'via', 'client-ip', 'te', 'upgrade',
  'proxy-authorization', 'x-api-key', 'x-device-id'];

export class Violation extends Error {}

export class Site extends EventEmitter {
  /** tls: 'good', 'expired', 'wrongHost', 'selfSigned' or false for plain HTTP. */
  constructor({tls = 'good', host = 'localhost'} = {}) {
    super();
    this.setMaxListeners(0);
    this.tls = tls;
    this.host = host;
    this.requests = [];   // {method, path, query, url, headers, body, json, socket, aborted: Promise<number>}
    this.violations = []; // sentences
    this.authority = null; // Host's value, where it is not host and port
    this.ownHeaders = []; // of FOREIGN: those that this site wants
    this.plans = [];      // answers to come, first in, first out
    this.sockets = new Set();
    this.connections = 0;
    this.seen = new Set(); // ids that came: each must be new
  }

  async start() {
    const listener = (req, res) => this.#serve(req, res);
    this.server = this.tls ? https.createServer(certificates()[this.tls], listener) : http.createServer(listener);
    this.server.on('tlsClientError', (error) => this.emit('tlsClientError', error));
    await listen(this.server, this);
    this.origin = `${this.tls ? 'https' : 'http'}://${this.host}:${this.port}`;
    return this;
  }

  async stop() {
    await unlisten(this.server, this);
  }

  /** What stands in [[sites]] for this stand-in. */
  config(more = {}) {
    return {base_url: this.origin, ...(this.tls ? {ca_file: certificates().ca} : {}), ...more};
  }

  /** The next answer of this site's main route: a function (req, res, record) or a name that the site knows. */
  next(...plans) {
    this.plans.push(...plans);
    return this;
  }

  fail(text) {
    throw new Violation(text);
  }

  check(condition, text) {
    if (!condition) this.fail(text);
  }

  same(what, got, want) {
    const a = JSON.stringify(got), b = JSON.stringify(want);
    this.check(a === b, `${what}: ${a} instead of ${b}`);
  }

  /** Exactly these keys; those in `optional` may be missing. */
  keys(what, object, required, optional = []) {
    this.check(object !== null && typeof object === 'object' && !Array.isArray(object), `${what} is no object`);
    for (const key of required) this.check(key in object, `${what} lacks ${key}`);
    for (const key of Object.keys(object)) {
      this.check(required.includes(key) || optional.includes(key), `${what} has the unexpected ${key}`);
    }
  }

  /** An id that the gateway made: a version 4 UUID that never came before. */
  fresh(what, id) {
    this.check(isUuid(id), `${what} is no version 4 UUID: ${id}`);
    this.check(!this.seen.has(id), `${what} was used before`);
    this.seen.add(id);
  }

  async #serve(req, res) {
    const chunks = [];
    req.on('error', () => {});
    res.on('error', () => {});
    const aborted = new Promise((resolve) => res.on('close', () => resolve(res.writableFinished ? null : Date.now())));
    try {
      for await (const chunk of req) chunks.push(chunk);
    } catch {
      return; // the other side left while sending
    }
    const body = Buffer.concat(chunks);
    const [path, query = ''] = req.url.split('?', 2);
    const record = {
      method: req.method, url: req.url, path, query: new URLSearchParams(query), headers: req.headers, rawHeaders: req.rawHeaders,
      body, socket: req.socket, aborted, at: Date.now(),
    };
    this.requests.push(record);
    try {
      this.#common(record);
      if (body.length && /^application\/json/.test(req.headers['content-type'] ?? '')) {
        try {
          record.json = JSON.parse(new TextDecoder('utf-8', {fatal: true}).decode(body));
        } catch (error) {
          this.fail(`the body is no UTF-8 JSON: ${error.message}`);
        }
      }
      this.emit('request', record);
      await this.handle(record, res);
    } catch (error) {
      this.violations.push(`${req.method} ${path}: ${error instanceof Violation ? error.message : error.stack}`);
      if (!res.headersSent) res.writeHead(418, {'content-type': 'application/json'});
      res.end(JSON.stringify({detail: `violation: ${error.message}`}));
    }
  }

  #common(r) {
    this.same('Host', r.headers.host, this.authority ?? `${this.host}:${this.port}`);
    for (const name of FOREIGN) this.check(!(name in r.headers) || this.ownHeaders.includes(name), `the header ${name} has no business here`);
    for (const name of Object.keys(r.headers)) this.check(!/^(sec-|x-stainless|cf-)/.test(name), `foreign header ${name}`);
    this.check(/^dragoman\b/.test(r.headers['user-agent'] ?? ''), `User-Agent ${r.headers['user-agent']} is not the gateway's own`);
    const seen = new Set();
    for (let i = 0; i < r.rawHeaders.length; i += 2) {
      const name = r.rawHeaders[i].toLowerCase();
      this.check(!seen.has(name), `header ${name} twice`);
      seen.add(name);
    }
    if (r.method === 'GET') this.check(r.body.length === 0, 'a GET with a body');
  }

  json(res, status, value, headers = {}) {
    const text = JSON.stringify(value);
    res.writeHead(status, {'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...headers});
    res.end(text);
  }

  sseHead(res, headers = {}) {
    res.writeHead(200, {'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache', ...headers});
    res.flushHeaders();
  }

  event(res, value) {
    return res.write(`data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`);
  }

  /** The n-th request (from 0) that fits, now or when it comes. */
  async request(fits = () => true, n = 0) {
    for (;;) {
      const found = this.requests.filter(fits)[n];
      if (found) return found;
      await once(this, 'request');
    }
  }
}

/** A promise that is kept when the other side leaves, or when `ms` have passed: then it says so. */
export async function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export const isUuid = (text) => /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(text);

const b64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token as many sites make them. Nobody looks at its signature. */
export const jwtOf = (payload, {alg = 'HS256', signature = b64url('signature')} = {}) => [b64url({alg, typ: 'JWT'}), b64url(payload), signature].join('.');
