// Stand-in for an upstream behind a route: a real TLS server that writes down every request as it came, byte counts included, and
// answers as the test says. It knows no API; what must never arrive, whatever the test, is a violation.
import https from 'node:https';
import {certificates} from './certs.mjs';
import {listen, unlisten} from './listener.mjs';

// sites/passthrough.md §2, "never forwarded up"
const NEVER = ['keep-alive', 'te', 'trailer', 'upgrade', 'expect', 'cookie', 'origin', 'referer', 'forwarded', 'x-real-ip', 'via'];
const NEVER_FAMILY = /^(proxy-|sec-|x-forwarded-|cf-|access-control-)/;

export class Recorder {
  /** `forbidden`: texts (the gateway's own keys) that must stand nowhere in a request's head. */
  constructor({forbidden = []} = {}) {
    Object.assign(this, {forbidden, requests: [], violations: [], plans: [], sockets: new Set(), connections: 0});
  }

  async start() {
    this.server = https.createServer({...certificates().good}, (req, res) => this.#serve(req, res));
    this.server.on('checkContinue', (req, res) => this.#serve(req, res));
    await listen(this.server, this);
    this.origin = `https://localhost:${this.port}`;
    return this;
  }

  async stop() {
    await unlisten(this.server, this);
  }

  /** What stands in [[routes]]. */
  route(more = {}) {
    return {upstream: this.origin, ca_file: certificates().ca, ...more};
  }

  /** Answers to come: functions (req, res, record); the body is theirs to read, or was read when `record.body` is there. */
  next(...plans) {
    this.plans.push(...plans);
    return this;
  }

  get last() {
    return this.requests.at(-1);
  }

  #serve(req, res) {
    const record = {method: req.method, url: req.url, headers: req.headers, rawHeaders: req.rawHeaders, bytes: 0, at: Date.now()};
    record.closed = new Promise((resolve) => res.on('close', () => resolve(Date.now())));
    record.complete = new Promise((resolve) => res.on('close', () => resolve(res.writableFinished)));
    this.requests.push(record);
    req.on('error', () => {});
    res.on('error', () => {});
    this.#look(record);
    const plan = this.plans.shift();
    if (plan?.streams) return plan(req, res, record);
    const chunks = [];
    req.on('data', (d) => chunks.push(d));
    req.on('end', () => {
      record.body = Buffer.concat(chunks);
      record.bytes = record.body.length;
      if (plan) return plan(req, res, record);
      const text = JSON.stringify({method: record.method, url: record.url, headers: record.headers, bytes: record.bytes});
      res.writeHead(200, {'content-type': 'application/json', 'content-length': Buffer.byteLength(text)});
      res.end(text);
    });
  }

  #look(record) {
    const bad = (text) => this.violations.push(`${record.method} ${record.url}: ${text}`);
    if (record.headers.host !== `localhost:${this.port}`) bad(`Host ${record.headers.host}`);
    for (const name of Object.keys(record.headers)) {
      if (NEVER.includes(name) || NEVER_FAMILY.test(name)) bad(`the header ${name}`);
    }
    if (record.headers['accept-encoding'] !== 'identity') bad(`Accept-Encoding ${record.headers['accept-encoding']}`);
    const seen = new Set();
    for (let i = 0; i < record.rawHeaders.length; i += 2) {
      const name = record.rawHeaders[i].toLowerCase();
      if (seen.has(name)) bad(`header ${name} twice`);
      seen.add(name);
    }
    const head = record.url + record.rawHeaders.join('\n');
    for (const text of this.forbidden) if (head.includes(text)) bad('a key of the gateway');
  }
}

/** Marks a plan that reads the request's body itself. */
export const streaming = (plan) => Object.assign(plan, {streams: true});
