// No secret may leave the program: whatever a gateway of the tests logs, prints, answers, measures or captures is searched for every secret
// that this test file's process knows of. That is every credential in a configuration or an environment that it wrote, and every one that
// reached one of its stand-in sites in a header, or left it in a cookie: those that a site issued while the test ran are among them.
//
// A leak is an error at the gateway's end; one that ends otherwise (kill -9, a test that failed before) makes the file fail at its end.
import {readdirSync, readFileSync} from 'node:fs';
import {channel} from 'node:diagnostics_channel';
import net from 'node:net';
import {basename, join} from 'node:path';

const SHORTEST = 6; // below, words of everyday texts would be found

const secrets = new Map(); // value → where it was seen first
const told = [];           // every leak: the file fails at its end, whoever heard of them before

/** From now on `value` may not appear anywhere. */
export function addSecret(value, from) {
  if (typeof value === 'string' && value.trim().length >= SHORTEST && !secrets.has(value.trim())) secrets.set(value.trim(), from);
}

function addCookies(header, from) {
  for (const pair of String(header).split(';')) addSecret(pair.slice(pair.indexOf('=') + 1), from);
}

// ---- what is written into a configuration ----

const SECRET_KEY = /^(key|api_key|token|cookie|password|secret_key|ticket|refresh_token|session_key)$/;
const SECRET_FILE = /^(?!log_file$|ca_file$).*_file$/;
const SECRET_NAME = /(KEY|TOKEN|SECRET|PASSWORD|COOKIE)/;

const files = new Set(); // that hold a secret, because somebody said so

function addSetting(key, value) {
  if (SECRET_FILE.test(key)) files.add(basename(value));
  if (key === 'cookie') addCookies(value, 'a cookie in the configuration');
  else if (SECRET_KEY.test(key)) addSecret(value, `"${key}" in the configuration`);
  else if (key === 'proxy' && /\/\/[^/@]*:[^/@]*@/.test(value)) addSecret(decodeURIComponent(/\/\/[^/@]*:([^/@]*)@/.exec(value)[1]), 'a proxy\'s password');
}

/** Of a configuration as configText takes it, or its text. */
export function addConfiguration(config) {
  if (typeof config === 'string') {
    for (const [, key, value] of config.matchAll(/(\w+)\s*=\s*"((?:[^"\\\n]|\\.)*)"/g)) addSetting(key, value);
  } else if (config !== null && typeof config === 'object') {
    for (const [key, value] of Object.entries(config)) {
      if (typeof value === 'string') key === 'text' ? addConfiguration(value) : addSetting(key, value);
      else addConfiguration(value);
    }
  }
}

export function addEnvironment(env) {
  for (const [name, value] of Object.entries(env)) {
    if (SECRET_NAME.test(name)) addSecret(value, `${name} in the environment`);
  }
}

// ---- what stand-in sites are shown, and what they issue ----

const bare = (value) => String(value).replace(/^(bearer|basic)\s+/i, '');

channel('http.server.request.start').subscribe(({request, response}) => {
  for (const [name, value] of Object.entries(request.headers)) {
    if (name === 'cookie') addCookies(value, 'a cookie that a site got');
    else if (/^(proxy-)?authorization$|^x-(goog-)?api-key$/.test(name)) addSecret(bare(value), `${name} that a site got`);
  }
  const setHeader = response.setHeader;
  response.setHeader = function watched(name, value) {
    if (String(name).toLowerCase() === 'set-cookie') {
      for (const cookie of [value].flat()) addCookies(String(cookie).split(';')[0], 'a cookie that a site set');
    }
    return setHeader.call(this, name, value);
  };
});

// ---- what a gateway says ----

const watched = new Map(); // port → the gateway

/** The secrets in `text`, as sentences. */
export function found(text, where) {
  const leaks = [];
  for (const [value, from] of secrets) {
    const at = text.indexOf(value);
    if (at >= 0) leaks.push(`${where} says a secret (${from}): …${text.slice(Math.max(0, at - 80), at)}[${value}]${text.slice(at + value.length, at + value.length + 40)}…`);
  }
  return leaks;
}

// Bytes from a gateway, whoever reads them here (fetch, an SDK, a bare socket); those of TLS decrypted.
function hear(socket, bytes) {
  const gateway = watched.get(socket.remotePort);
  if (!gateway || !bytes || gateway.passes) return;
  const text = (socket.tail ?? '') + bytes.toString('latin1');
  for (const leak of found(text, 'an answer')) gateway.leaks.push(leak);
  socket.tail = text.slice(-200);
}

const push = net.Socket.prototype.push;
net.Socket.prototype.push = function heard(bytes, ...rest) {
  hear(this, bytes);
  return push.call(this, bytes, ...rest);
};

// Where secrets belong: the configuration, and what the program keeps for itself alone.
const OUR_OWN = /^(gateway.*\.toml|dragoman\.db.*)$/;

function captures(directory) {
  let entries = [];
  try {
    entries = readdirSync(directory, {recursive: true, withFileTypes: true});
  } catch {} // it is gone
  return entries.filter((entry) => entry.isFile() && !files.has(entry.name) && !OUR_OWN.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

/** Watches one gateway. `passes`: its site's answers go to the client as they are, and may tell what the site was told. */
export class Watch {
  constructor({passes = false} = {}) {
    this.passes = passes;
    this.leaks = [];
    this.read = 0;
  }

  listens(port) {
    this.port = port;
    watched.set(port, this);
  }

  metrics(page) {
    this.leaks.push(...found(page, '/metrics'));
  }

  /** At its end: all it logged and printed, and what lies in its folder. The leaks, once. */
  ended(output, directory) {
    if (this.port !== undefined && watched.get(this.port) === this) watched.delete(this.port);
    this.leaks.push(...found(output, 'the log'));
    for (const file of captures(directory)) this.leaks.push(...found(readFileSync(file, 'latin1'), `the file ${file.slice(directory.length + 1)}`));
    told.push(...this.leaks);
    return this.leaks;
  }
}

process.on('exit', () => {
  if (told.length) {
    process.stderr.write(`secrets were told:\n${told.join('\n')}\n`);
    process.exitCode = 1;
  }
});
