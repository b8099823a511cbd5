// A server of pictures, and of everything that a server of pictures should not send.
import {once} from 'node:events';
import http from 'node:http';
import https from 'node:https';
import {deflateSync, gzipSync} from 'node:zlib';

const CRC = Array.from({length: 256}, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xEDB88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});
const crc = (bytes) => (bytes.reduce((c, b) => CRC[(c ^ b) & 255] ^ (c >>> 8), 0xFFFFFFFF) ^ 0xFFFFFFFF) >>> 0;

function chunk(type, data) {
  const out = Buffer.alloc(data.length + 12);
  out.writeUInt32BE(data.length, 0);
  out.write(type, 4, 'latin1');
  data.copy(out, 8);
  out.writeUInt32BE(crc(out.subarray(4, data.length + 8)), data.length + 8);
  return out;
}

/** A true PNG of one pixel whose colour is `seed`: each seed is another picture. `extra` bytes of a chunk that nobody needs. */
export function png(seed = 0, extra = 0) {
  const head = Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0]);
  const pixel = deflateSync(Buffer.from([0, seed & 255, (seed >> 8) & 255, (seed >> 16) & 255]));
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1A\n', 'latin1'), chunk('IHDR', head), ...(extra ? [chunk('prIv', Buffer.alloc(extra, seed))] : []),
    chunk('IDAT', pixel), chunk('IEND', Buffer.alloc(0))]);
}

export const dataUrl = (bytes, mime = 'image/png') => `data:${mime};base64,${bytes.toString('base64')}`;

/** Plans by path: a function (req, res, server). Everything else is a picture whose seed is the number in its path. */
export class PictureServer {
  constructor({host = '127.0.0.1', tls} = {}) {
    this.host = host;
    this.tls = tls;
    this.plans = new Map();
    this.requests = [];
    this.sockets = new Set();
    this.left = 0; // requests whose client went away
  }

  async start() {
    const listener = (req, res) => {
      this.requests.push({method: req.method, url: req.url, headers: req.headers, rawHeaders: req.rawHeaders});
      res.on('error', () => {});
      res.on('close', () => { if (!res.writableFinished) { this.left++; this.onLeft?.(); } });
      const plan = this.plans.get(req.url.split('?')[0]);
      if (plan) return plan(req, res, this);
      this.send(res, png(Number(/\d+/.exec(req.url)?.[0] ?? 0)));
    };
    this.server = this.tls ? https.createServer(this.tls, listener) : http.createServer(listener);
    this.server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.sockets.delete(socket));
    });
    this.server.on('tlsClientError', () => {});
    this.server.listen(0, this.host);
    await once(this.server, 'listening');
    this.port = this.server.address().port;
    this.origin = `${this.tls ? 'https' : 'http'}://${this.host}:${this.port}`;
    return this;
  }

  async stop() {
    const closed = once(this.server, 'close');
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  on(path, plan) {
    this.plans.set(path, plan);
    return `${this.origin}${path}`;
  }

  send(res, bytes, headers = {}) {
    res.writeHead(200, {'content-type': 'image/png', 'content-length': bytes.length, ...headers});
    res.end(bytes);
  }

  redirect(path, to, status = 302) {
    return this.on(path, (req, res) => {
      res.writeHead(status, {location: typeof to === 'function' ? to() : to, 'content-type': 'text/html'});
      res.end('<a>elsewhere</a>');
    });
  }

  count(path) {
    return this.requests.filter(({url}) => url === path).length;
  }
}

/** Never ends: a picture's beginning, then more and more. */
export function endless(req, res) {
  res.writeHead(200, {'content-type': 'image/png'});
  res.write(png());
  const more = () => { while (!res.destroyed && res.write(Buffer.alloc(65536))); };
  res.on('drain', more);
  more();
}

/** A byte now and then. */
export function drip(req, res) {
  res.writeHead(200, {'content-type': 'image/png'});
  const bytes = png(1, 4096);
  let at = 0;
  const timer = setInterval(() => res.write(bytes.subarray(at, ++at)), 40);
  res.on('close', () => clearInterval(timer));
}

/** 64 MiB of zeros behind a picture's beginning, as 64 KiB. */
export function bomb(req, res) {
  const body = gzipSync(Buffer.concat([png(), Buffer.alloc(64 << 20)]));
  res.writeHead(200, {'content-type': 'image/png', 'content-encoding': 'gzip', 'content-length': body.length});
  res.end(body);
}
