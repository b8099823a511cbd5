// Many requests at once for a TLS origin that is not known yet: one connection does the full handshake, the others take up its session.
import assert from 'node:assert/strict';
import {constants} from 'node:crypto';
import {once} from 'node:events';
import net from 'node:net';
import {afterEach, describe, it} from 'node:test';
import {certificates} from '../sites/certs.mjs';
import {listen, unlisten} from '../sites/listener.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError, user} from './lib/http.mjs';
import {parsePrometheus, valueOf} from './lib/prometheus.mjs';

const MANY = 32;

// Passes connections on to `site`; the first one is `first`'s once its first bytes (the ClientHello) have come.
class Door {
  constructor(site, first) {
    Object.assign(this, {site, first, sockets: new Set(), connections: 0, slowest: 0});
  }

  async start() {
    this.server = net.createServer((socket) => this.#pass(socket, this.connections === 1));
    await listen(this.server, this);
    return this;
  }

  async #pass(socket, isFirst) {
    if (isFirst && this.first) {
      await once(socket, 'data');
      this.first(socket);
      return;
    }
    const on = net.connect(this.site.port, '127.0.0.1');
    on.on('error', () => socket.destroy());
    on.on('close', () => socket.destroy());
    socket.on('close', () => on.destroy());
    this.#time(socket, on);
    socket.pipe(on).pipe(socket);
  }

  // From the client's first word to the server's first: the longest time, in ms.
  async #time(socket, on) {
    await once(socket, 'data');
    const at = Date.now();
    on.once('data', () => (this.slowest = Math.max(this.slowest, Date.now() - at)));
  }

  stop() {
    return unlisten(this.server, this);
  }
}

/** Answers that wait until `n` requests have come, so that no connection can serve two of them. */
function together(site, n) {
  let all, came = 0;
  const gathered = new Promise((resolve) => (all = resolve));
  for (let i = 0; i < n; i++) {
    site.next(async function (r, res) {
      if (++came === n) all();
      await gathered;
      this.json(res, 200, {id: 'x', object: 'chat.completion', created: 1, model: 'm',
        choices: [{index: 0, message: {role: 'assistant', content: 'ok'}, finish_reason: 'stop'}]});
    });
  }
}

describe('a cold TLS origin', {timeout: 120000}, () => {
  let closing = [];
  const keep = (x) => (closing.push(x), x);
  afterEach(async () => {
    for (const x of closing.reverse()) await x.stop();
    closing = [];
  });

  async function serve({secure = {}, first, accounts = [{name: 'a', api_key: 'sk-a'}], more = {}} = {}) {
    const site = keep(await new OpenAiSite({keys: accounts.map((a) => a.api_key)}).start());
    const counts = {full: 0, resumed: 0};
    const door = keep(await new Door(site, first).start());
    if (Object.keys(secure).length) site.server.setSecureContext({...certificates().good, ...secure});
    site.server.on('secureConnection', (socket) => counts[socket.isSessionReused() ? 'resumed' : 'full']++);
    site.authority = `localhost:${door.port}`;
    const gateway = keep(await startGateway({sites: [{name: 'up', adapter: 'openai', ...site.config({base_url: `https://localhost:${door.port}/v1`}), models: ['m'],
      ...more, accounts}]}));
    const ask = () => chat(gateway.base, {model: 'up/m', ...user('x')});
    const measured = async () => {
      const families = parsePrometheus(await (await fetch(`${gateway.origin}/metrics`)).text());
      const kind = (k) => valueOf(families, 'dragoman_tls_handshakes_total', {kind: k}) ?? 0;
      return {full: kind('full'), resumed: kind('resumed')};
    };
    const burst = async (n) => {
      together(site, n);
      return Promise.all(Array.from({length: n}, async () => (await ask()).status));
    };
    return {site, door, gateway, counts, measured, burst, ask, slowest: () => door.slowest};
  }

  // Nobody waits for ever: on a machine where the first handshake takes too long the others rightly go on, and it is tried again.
  async function unhurried(attempt) {
    for (let left = 5; ; left--) {
      const served = await attempt();
      if (!left || served.slowest() < 200) return served;
    }
  }

  it('32 at once are one full handshake, and 31 that take up its ticket', async () => {
    const {counts, measured, site} = await unhurried(async () => {
      const served = await serve();
      assert.deepEqual(await served.burst(MANY), Array(MANY).fill(200));
      return served;
    });
    assert.deepEqual(counts, {full: 1, resumed: MANY - 1});
    assert.deepEqual(await measured(), counts);
    assert.deepEqual(site.violations, []);
  });

  it('the same with session ids where there are no tickets', async () => {
    const {counts, measured} = await unhurried(async () => {
      const served = await serve({secure: {secureOptions: constants.SSL_OP_NO_TICKET}});
      const kept = new Map();
      served.site.server.on('newSession', (id, data, done) => (kept.set(id.toString('hex'), data), done()));
      served.site.server.on('resumeSession', (id, done) => done(null, kept.get(id.toString('hex')) ?? null));
      assert.deepEqual(await served.burst(MANY), Array(MANY).fill(200));
      return served;
    });
    assert.deepEqual(counts, {full: 1, resumed: MANY - 1});
    assert.deepEqual(await measured(), counts);
  });

  it('an origin that never resumes: everybody gets through by himself', async () => {
    const {counts, burst, measured} = await serve({secure: {secureOptions: constants.SSL_OP_NO_TICKET}});
    assert.deepEqual(await burst(MANY), Array(MANY).fill(200));
    assert.deepEqual(counts, {full: MANY, resumed: 0});
    assert.deepEqual(await measured(), counts);
  });

  it('the first one is reset: its request fails, the next one goes ahead for all others', async () => {
    const {counts, answers} = await unhurried(async () => {
      const served = await serve({first: (socket) => socket.resetAndDestroy()});
      together(served.site, MANY - 1);
      return {...served, answers: await Promise.all(Array.from({length: MANY}, served.ask))};
    });
    const failed = answers.filter(({status}) => status !== 200);
    assert.equal(failed.length, 1);
    await checkError(failed[0], {status: 502, type: 'upstream_error', code: 'upstream_unreachable'});
    assert.deepEqual(counts, {full: 1, resumed: MANY - 2});
  });

  it('the first one hangs: the others go on without it', async () => {
    const {counts, site, ask, door} = await serve({first: () => {}});
    together(site, MANY - 1);
    const answers = Array.from({length: MANY}, async () => (await ask()).status);
    // Whose connection the door has kept is not known: all but one answer.
    let answered = 0;
    await new Promise((resolve) => answers.forEach((a) => a.then(() => ++answered === MANY - 1 && resolve(), () => {})));
    assert.equal(counts.full + counts.resumed, MANY - 1);
    assert.equal(door.connections, MANY);
    for (const socket of door.sockets) socket.destroy(); // the one that hangs fails now
    assert.deepEqual((await Promise.all(answers)).toSorted(), [...Array(MANY - 1).fill(200), 502]);
  });

  it('accounts keep their sessions apart: one full handshake each', async () => {
    const {counts} = await unhurried(async () => {
      const served = await serve({more: {max_concurrent: MANY / 2}, accounts: ['a', 'b'].map((name) => ({name, api_key: `sk-${name}`}))});
      assert.deepEqual(await served.burst(MANY), Array(MANY).fill(200));
      return served;
    });
    assert.deepEqual(counts, {full: 2, resumed: MANY - 2});
  });
});
