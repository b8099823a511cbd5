// The soak: the real program, several sites behind relays that break things, clients of all kinds, reloads; all by chance, from a
// seed that is said. Every answer that can be checked is checked, and from time to time everybody holds still, so that memory and
// descriptors can be compared with what they were before.
//
//   node test/faults/soak.mjs      MINUTES=30 SOAK_BUILD=debug|release SOAK_SEED=… SOAK_WORKERS=12 SOAK_ONLY=chats,responses
//
// What an answer has to be follows from the request: "say-N-WORD-" is answered with N pieces, `WORD.0 `, `WORD.1 ` …. A request has at
// most one fault, which knows its word; one without a fault has to be answered whole, whatever happens to the others.
import assert from 'node:assert/strict';
import http from 'node:http';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {answerPiece, descriptors, resident} from '../e2e/lib/clients.mjs';
import {Gateway, root} from '../e2e/lib/gateway.mjs';
import {chat, checkErrorObject, checkStream, user} from '../e2e/lib/http.mjs';
import {parsePrometheus, valueOf} from '../e2e/lib/prometheus.mjs';
import {RawClient, post} from '../e2e/lib/raw.mjs';
import {checkStream as checkResponsesStream, respond, textOf} from '../e2e/lib/responses.mjs';
import {OpenAI} from '../e2e/lib/sdk.mjs';
import {listen, unlisten} from '../sites/listener.mjs';
import {within} from '../sites/site.mjs';
import {asks, outcome, startBehind} from './behind.mjs';
import {generator, seedOf} from './random.mjs';
import {Relay, places} from './relay.mjs';

const KEYS = ['sk-soak-first-0123456789', 'sk-soak-second-0123456789'], ROUTE_KEY = 'sk-route-0123456789abcdef';
const TIMEOUTS = {connect_timeout: '5s', first_byte_timeout: '8s', idle_timeout: '5s', max_concurrent: 50};
const LONGEST_MS = 40000; // no request may take longer, whatever happens to it
const PLACES = {'at once': places.atOnce, 'in the head': places.inHead, 'behind the head': places.afterHead, 'behind a chunk': places.behindChunk(2),
  'inside a chunk': places.insideChunk(3), 'before the end': places.beforeEnd, 'behind the end': places.afterEnd};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const piecesOf = (word, n) => Array.from({length: n}, (_, i) => `${word}.${i} `);
const textFor = (word, n) => piecesOf(word, n).join('');

/** What a request as it came to a site asks for: the last of its orders, as there may be a history. */
function orderIn(body) {
  const [, n, word] = [...body.toString('latin1').matchAll(/say-(\d+)-(w[a-z0-9]+)-/g)].at(-1) ?? [];
  return word ? {n: Number(n), word} : {n: 1, word: 'nothing'};
}

/** An upstream behind a route: it knows no API, and says its pieces. */
class Upstream {
  sockets = new Set();
  connections = 0;

  async start() {
    this.server = http.createServer(async (req, res) => {
      const chunks = [];
      req.on('error', () => {});
      res.on('error', () => {});
      for await (const chunk of req) chunks.push(chunk);
      const {n, word} = orderIn(Buffer.concat(chunks));
      res.writeHead(200, {'content-type': 'text/plain'});
      for (const piece of piecesOf(word, n)) {
        if (res.destroyed) return;
        res.write(piece);
        await new Promise(setImmediate);
      }
      res.end();
    });
    await listen(this.server, this);
    return this;
  }

  stop() {
    return unlisten(this.server, this);
  }
}

class Soak {
  /** only: names of clients (chats, responses …), to find out which of them it is. */
  constructor({seed, seconds, workers = 12, build = 'debug', only = null, say = () => {}}) {
    Object.assign(this, {seed, seconds, workers, build, only, say, random: generator(seed)});
    this.problems = [];
    this.counts = {};        // what → {whole, marked, error, cut, left}
    this.ids = new Set();    // of requests whose log line has not been seen
    this.logged = new Set(); // of log lines that were seen
    this.samples = [];
    this.serial = 0;
    this.holding = 0;        // workers that hold still
    this.hold = null;        // a promise while all are to hold still
    this.over = false;
  }

  problem(what, error) {
    this.problems.push(`${what}: ${error?.stack ?? error}`);
    this.over = true;
  }

  async start() {
    const site = async (name, kind, more) => {
      const behind = await startBehind(kind, {name, ...TIMEOUTS, ...more});
      behind.site.pieces = (r) => {
        const {n, word} = orderIn(r.body);
        return piecesOf(word, n);
      };
      behind.site.pause = () => (this.random.chance(0.3) ? 1 : 0);
      return behind;
    };
    this.plain = await site('plain', 'openai', {models: ['gpt-test']});
    this.secure = await site('secure', 'openai', {tls: true, models: ['gpt-test']});
    this.zai = await site('zai', 'zai');
    this.kimi = await site('kimi', 'kimi');
    this.limited = await site('limited', 'openai', {models: ['gpt-test']});
    this.sites = [this.plain, this.secure, this.zai, this.kimi, this.limited];
    for (const behind of [this.plain, this.secure]) {
      const {spoken, site: s} = behind;
      s.plans.shift = () => function (r, res) {
        return r.json.tools ? speakCall.call(this, r, res) : spoken.call(this, r, res);
      };
    }
    this.plain.entry.accounts = ['a', 'b', 'c'].map((name) => ({name, api_key: 'sk-upstream'}));
    this.zai.entry.accounts = [...this.zai.entry.accounts, {name: 'guest', guest: true}];
    const {spoken} = this.limited;
    this.limited.site.plans.shift = () => (this.random.chance(0.2)
      ? {status: 429, json: {error: {message: 'slow down', type: 'requests', param: null, code: 'rate_limit_exceeded'}}, headers: {'retry-after': '1'}} : spoken);
    this.upstream = await new Upstream().start();
    this.routeRelay = await new Relay(this.upstream).start();
    this.gateway = new Gateway(this.config());
    this.gateway.program = join(root, 'build', this.build, 'dragoman');
    // What is freed would count as used for as long as the sanitizer holds it back.
    this.gateway.env = {ASAN_OPTIONS: 'detect_leaks=1:exitcode=99:detect_stack_use_after_return=1:quarantine_size_mb=1:thread_local_quarantine_size_kb=64'};
    await this.gateway.start();
    this.clientRelay = await new Relay(this.gateway, {gateway: 'far'}).start();
    this.sdk = KEYS.map((apiKey) => new OpenAI({apiKey, baseURL: this.gateway.base, maxRetries: 0, timeout: LONGEST_MS}));
  }

  config({extra = 0, level = 'debug'} = {}) {
    return {
      server: {log_level: level, responses_max: '4MiB'},
      keys: KEYS.map((key, i) => ({name: `k${i}`, key})),
      sites: [...this.sites.map(({entry}) => entry), {name: 'demo', adapter: 'demo'}, ...Array.from({length: extra}, (_, i) => ({name: `demo${i}`, adapter: 'demo'}))],
      models: [{id: 'chain', targets: ['limited/gpt-test', 'plain/gpt-test']}],
      routes: [{prefix: '/pass', upstream: `http://127.0.0.1:${this.routeRelay.port}`, key: ROUTE_KEY, idle_timeout: '5s', first_byte_timeout: '8s'}],
    };
  }

  count(what, end) {
    this.counts[what] ??= {};
    this.counts[what][end] = (this.counts[what][end] ?? 0) + 1;
  }

  order(random, most = 12) {
    const n = random.between(1, most), word = `w${(this.serial++).toString(36)}x${random.between(0, 1e9).toString(36)}`;
    return {n, word, order: `say-${n}-${word}-`, text: textFor(word, n)};
  }

  headers(random) {
    return {authorization: `Bearer ${random.of(KEYS)}`};
  }

  /** Perhaps a fault for this word. */
  fault(random, relay, word, share = 0.35) {
    if (!random.chance(share)) return null;
    const [place, at] = random.of(Object.entries(PLACES));
    let act = random.of(['reset', 'fin', 'half', 'drip', 'reset', 'fin', 'half', 'drip', 'stall']);
    if (act === 'stall' && / the end$/.test(place)) act = 'fin'; // its connection would be used again, and stand still for another
    return relay.next({when: asks(word), place: at, act});
  }

  withdraw(relay, fault) {
    const at = relay.faults.indexOf(fault);
    if (at >= 0) relay.faults.splice(at, 1);
  }

  /** Is this an answer that such a request may have? */
  judge(got, {text}, {fault, lenient}) {
    this.ids.add(got.id);
    if (got.end === 'whole') return assert.equal(got.content, text, 'a wrong answer');
    assert.ok(text.startsWith(got.content), `${JSON.stringify(got.content)} is no beginning of ${JSON.stringify(text)}`);
    assert.match(got.code, /^upstream_(cut|timeout|unreachable|protocol|empty|failed|rate_limited)$/);
    assert.ok(fault || lenient, `nothing was wrong with this request, but: ${JSON.stringify(got)}`);
  }

  // ---- the clients ----

  async chats(random) {
    const behind = random.of([this.plain, this.zai, this.kimi, this.plain, this.zai, this.kimi, this.secure]), order = this.order(random), what = `chat ${behind.name}`;
    let fault = null;
    if (behind === this.secure) {
      if (random.chance(0.15)) behind.relay.next({when: /^\x16\x03|\x17\x03\x03/, way: random.of(['up', 'down', 'down']), place: places.tlsRecord(random.between(1, 4), random.chance(0.5) ? {inside: random.between(1, 12)} : {}), act: random.of(['reset', 'fin', 'flip', 'half'])});
    } else {
      fault = this.fault(random, behind.relay, order.word);
    }
    const got = await outcome(chat(this.gateway.base, {model: behind.model, stream: random.chance(0.6), ...user(order.order)}, {headers: this.headers(random)}), LONGEST_MS);
    if (fault) this.withdraw(behind.relay, fault);
    this.judge(got, order, {fault, lenient: behind === this.secure});
    this.count(what, got.end);
  }

  async chain(random) {
    const order = this.order(random);
    const got = await outcome(chat(this.gateway.base, {model: random.of(['chain', 'limited/gpt-test']), stream: random.chance(0.5), ...user(order.order)}, {headers: this.headers(random)}), LONGEST_MS);
    this.judge(got, order, {fault: null, lenient: got.code === 'upstream_rate_limited'});
    this.count('chain', got.end);
  }

  async sdkChats(random) {
    const client = random.of(this.sdk), order = this.order(random), model = random.of([this.plain, this.zai, this.kimi]).model;
    if (random.chance(0.5)) {
      const whole = await client.chat.completions.create({model, ...user(order.order)});
      assert.equal(whole.choices[0].message.content, order.text);
    } else {
      let text = '', finish;
      for await (const chunk of await client.chat.completions.create({model, stream: true, ...user(order.order)})) {
        text += chunk.choices[0]?.delta.content ?? '';
        finish = chunk.choices[0]?.finish_reason ?? finish;
      }
      assert.deepEqual([text, finish], [order.text, 'stop']);
    }
    this.count('sdk', 'whole');
  }

  async tools(random) {
    const order = this.order(random), tools = [{type: 'function', function: {name: 'note', parameters: {type: 'object', properties: {word: {type: 'string'}}}}}];
    const body = {model: this.plain.model, tools, ...user(order.order)};
    if (random.chance(0.5)) {
      const {choices: [{message, finish_reason}]} = await random.of(this.sdk).chat.completions.create(body);
      assert.deepEqual([JSON.parse(message.tool_calls[0].function.arguments).word, finish_reason], [order.word, 'tool_calls']);
    } else {
      const response = await chat(this.gateway.base, {...body, stream: true}, {headers: this.headers(random)});
      const {calls: [call], finish} = checkStream(await within(LONGEST_MS, response.text(), 'a stream'));
      assert.deepEqual([call.name, JSON.parse(call.arguments).word, finish], ['note', order.word, 'tool_calls']);
    }
    this.count('tools', 'whole');
  }

  async responses(random) {
    const order = this.order(random), headers = this.headers(random), stream = random.chance(0.5);
    const response = await respond(this.gateway.base, {model: this.plain.model, input: order.order, stream}, {headers}), text = await within(LONGEST_MS, response.text(), 'a response');
    assert.equal(response.status, 200, text);
    const made = stream ? checkResponsesStream(text) : JSON.parse(text);
    assert.equal(textOf(made), order.text);
    this.ids.add(response.headers.get('x-request-id'));
    const found = await fetch(`${this.gateway.base}/responses/${made.id}`, {headers}), body = await found.json();
    assert.equal(found.status, 200, `a stored response is gone: ${JSON.stringify(body)}`);
    assert.equal(textOf(body), order.text);
    this.count('responses', 'whole');
  }

  async messages(random) {
    const order = this.order(random), stream = random.chance(0.5), behind = random.of([this.plain, this.zai, this.kimi]), fault = this.fault(random, behind.relay, order.word);
    const response = await fetch(`${this.gateway.base}/messages`, {method: 'POST', headers: {'content-type': 'application/json', 'x-api-key': random.of(KEYS), 'anthropic-version': '2023-06-01'},
      body: JSON.stringify({model: behind.model, max_tokens: 10000, stream, ...user(order.order)})});
    const text = await within(LONGEST_MS, response.text(), 'a message');
    if (fault) this.withdraw(behind.relay, fault);
    this.ids.add(response.headers.get('x-request-id') ?? response.headers.get('request-id'));
    if (response.status !== 200) {
      assert.ok(fault, `nothing was wrong with this message, but: ${response.status} ${text}`);
      assert.equal(typeof JSON.parse(text).error.message, 'string');
      return this.count('messages', 'error');
    }
    if (!stream) {
      assert.equal(JSON.parse(text).content.map((c) => c.text).join(''), order.text);
      return this.count('messages', 'whole');
    }
    const events = text.split('\n\n').filter((b) => b.startsWith('event: ')).map((b) => JSON.parse(b.slice(b.indexOf('\ndata: ') + 7)));
    const said = events.filter((e) => e.type === 'content_block_delta').map((e) => e.delta.text).join('');
    const end = events.at(-1).type;
    if (end === 'message_stop') {
      assert.equal(said, order.text);
      return this.count('messages', 'whole');
    }
    assert.equal(end, 'error', `half a message that looks whole: ${text.slice(-300)}`);
    assert.ok(fault && order.text.startsWith(said), said);
    this.count('messages', 'marked');
  }

  /** A client that leaves in the middle. */
  async aborts(random) {
    const order = this.order(random, 200), leaving = new AbortController();
    const timer = setTimeout(() => leaving.abort(), random.between(0, 60));
    try {
      const response = await chat(this.gateway.base, {model: random.of([this.plain, this.zai, this.kimi, this.secure]).model, stream: random.chance(0.8), ...user(order.order)}, {headers: this.headers(random), signal: leaving.signal});
      await within(LONGEST_MS, response.text(), 'an answer');
      this.count('aborts', 'whole');
    } catch (error) {
      if (error.name !== 'AbortError') throw error;
      this.count('aborts', 'left');
    } finally {
      clearTimeout(timer);
    }
  }

  async slowReader(random) {
    const order = this.order(random, 300), client = await RawClient.open(this.gateway.port);
    try {
      await client.send(post({model: this.plain.model, stream: true, ...user(order.order)}, [`Authorization: Bearer ${random.of(KEYS)}`]));
      for (let i = random.between(1, 5); i > 0; i--) {
        client.socket.pause();
        await sleep(random.between(5, 100));
        client.socket.resume();
        await new Promise(setImmediate);
      }
      assert.equal(checkStream((await client.answer({ms: LONGEST_MS})).text).content, order.text);
      this.count('slow', 'whole');
    } finally {
      client.close();
    }
  }

  /** Clients that the network breaks, or that are none. */
  async wild(random) {
    const order = this.order(random), client = await RawClient.open(this.clientRelay.port);
    this.clientRelay.next({when: asks(order.word), way: random.of(['up', 'down']), place: random.of([places.atOnce, places.byte(random.between(1, 400)), places.behindChunk(2)]), act: random.of(['reset', 'fin', 'half', 'drip'])});
    const fault = this.clientRelay.faults.at(-1);
    try {
      await client.send(post({model: this.plain.model, stream: random.chance(0.5), ...user(order.order)}, [`Authorization: Bearer ${random.of(KEYS)}`]));
      await client.rest(300).catch(() => {});
    } finally {
      this.withdraw(this.clientRelay, fault);
      client.close();
    }
    this.count('wild', 'left');
  }

  async garbage(random) {
    const client = await RawClient.open(this.gateway.port), bytes = Buffer.from(Array.from({length: random.between(1, 3000)}, () => random.between(0, 255)));
    const whole = post({model: this.plain.model, ...user(this.order(random).order)}, [`Authorization: Bearer ${random.of(KEYS)}`]);
    const broken = Buffer.from(whole);
    for (let i = random.between(1, 5); i > 0; i--) broken[random.between(0, broken.length - 1)] = random.between(0, 255);
    try {
      await client.send(random.of([bytes, whole.subarray(0, random.between(1, whole.length - 1)), broken, post('{"model": "x", '), post({model: random.between(0, 9), messages: 'none'})]));
      await client.rest(random.between(5, 150)).catch(() => {});
    } finally {
      if (random.chance(0.5)) client.rst();
      else client.close();
    }
    this.count('garbage', 'left');
  }

  async refused(random) {
    const [body, headers] = random.of([[{model: 'no/such', ...user('x')}, this.headers(random)], ['{', this.headers(random)], [{model: this.plain.model, ...user('x')}, {authorization: 'Bearer sk-wrong'}]]);
    const response = await chat(this.gateway.base, body, {headers});
    assert.ok([400, 401, 404].includes(response.status), `${response.status}`);
    checkErrorObject((await response.json()).error);
    this.count('refused', 'error');
  }

  async passes(random) {
    const order = this.order(random, 40), fault = random.chance(0.3) ? this.routeRelay.next({when: new RegExp(order.word), place: random.of(Object.values(PLACES)), act: random.of(['reset', 'fin', 'drip'])}) : null;
    let text = null;
    try {
      const response = await fetch(`${this.gateway.origin}/pass/say`, {method: 'POST', headers: this.headers(random), body: order.order});
      text = await within(LONGEST_MS, response.text(), 'a passage');
      if (response.status === 200) assert.equal(text, order.text, 'a passage that was cut and looks whole');
      else assert.ok(fault && response.status >= 500, `${response.status} ${text}`);
      this.count('passage', response.status === 200 ? 'whole' : 'error');
    } catch (error) {
      if (!(error instanceof TypeError) || !fault) throw error; // "terminated": the cut can be seen
      this.count('passage', 'cut');
    } finally {
      if (fault) this.withdraw(this.routeRelay, fault);
    }
  }

  async looks(random) {
    const path = random.of(['/health', '/v1/models', '/']), response = await fetch(this.gateway.origin + path, {headers: this.headers(random)});
    assert.equal(response.status, 200);
    await response.text();
    this.count('looks', 'whole');
  }

  async work(number) {
    const random = generator(this.seed + 1 + number);
    const kinds = [[30, 'chats'], [6, 'chain'], [8, 'sdkChats'], [4, 'tools'], [6, 'responses'], [8, 'messages'], [8, 'aborts'], [3, 'slowReader'], [5, 'wild'], [5, 'garbage'], [3, 'refused'], [8, 'passes'], [2, 'looks']];
    const deck = kinds.filter(([, name]) => !this.only || this.only.includes(name)).flatMap(([weight, name]) => Array(weight).fill(name));
    while (!this.over) {
      if (this.hold) {
        this.holding++;
        await this.hold;
        this.holding--;
        continue;
      }
      const what = random.of(deck);
      try {
        await within(LONGEST_MS * 1.5, this[what](random), `the end of "${what}"`);
      } catch (error) {
        return this.problem(`worker ${number}, ${what}`, error);
      }
    }
  }

  // ---- what happens to the gateway itself ----

  async reloads() {
    const random = generator(this.seed + 1000);
    while (!this.over) {
      await sleep(random.between(300, 2000));
      if (this.hold || this.over) continue;
      const from = this.gateway.stderr.length;
      this.reloading = true; // the log must not be forgotten meanwhile
      try {
        if (random.chance(0.2)) {
          this.gateway.write({text: '[server]\nnonsense = true\n'});
          this.gateway.signal('SIGHUP');
          await this.gateway.logged(/nonsense/, {from, ms: 20000});
        } else {
          this.gateway.write(this.config({extra: random.between(0, 3)}));
          this.gateway.signal('SIGHUP');
          await this.gateway.logged(/configuration reloaded/, {from, ms: 20000});
        }
        this.count('reloads', 'whole');
      } catch (error) {
        return this.problem('a reload', error);
      } finally {
        this.reloading = false;
      }
    }
  }

  /** Everybody holds still until nothing is under way: {kB, files}; `files` without the connections that may come and go. */
  async still() {
    let release;
    this.hold = new Promise((resolve) => (release = resolve));
    for (const end = Date.now() + LONGEST_MS * 2; (this.holding < this.workers || this.reloading) && !this.over;) {
      if (Date.now() > end) throw new Error('a worker does not come to its end');
      await sleep(5);
    }
    try {
      if (this.over) return;
      for (const end = Date.now() + LONGEST_MS; ;) {
        const {active} = await (await fetch(`${this.gateway.origin}/health`)).json();
        if (active === 0) break;
        if (Date.now() > end) throw new Error(`${active} requests never end`);
        await sleep(10);
      }
      const metrics = parsePrometheus(await (await fetch(`${this.gateway.base}/metrics`, {headers: {authorization: `Bearer ${KEYS[0]}`}})).text());
      const open = ['busy', 'idle'].reduce((n, state) => n + valueOf(metrics, 'dragoman_site_connections', {state}), 0) + valueOf(metrics, 'dragoman_client_connections');
      this.samples.push({at: Math.round((Date.now() - this.began) / 1000), kB: resident(this.gateway), files: descriptors(this.gateway) - open, open});
      await this.readLog();
      this.say(`${JSON.stringify(this.samples.at(-1))} ${this.serial} requests`);
      for (const {site} of this.sites) {
        const strange = site.violations.filter((v) => !/aborted|was used before/.test(v));
        assert.deepEqual(strange, [], 'what reached a site was wrong');
        site.requests.length = 0;
      }
    } finally {
      this.hold = null;
      release();
    }
  }

  /** No secret in it, and each request has exactly one line. What was read is forgotten. */
  async readLog() {
    for (const end = Date.now() + 3000; ;) {
      const text = this.gateway.stderr;
      for (const [, id] of text.matchAll(/(?:chat|messages|responses|completions|passage) id=(\S+) .*\n/g)) {
        assert.ok(!this.logged.has(id), `two log lines of ${id}`);
        this.logged.add(id);
      }
      const kinds = ['AddressSanitizer', 'runtime error:', 'Assertion `'];
      for (const word of [...kinds, ...KEYS, ROUTE_KEY, 'sk-upstream', 'sk-wrong', ...this.zai.site.tokens.keys(), ...this.kimi.site.access, ...this.kimi.site.refreshTokens]) {
        assert.ok(!text.includes(word), `${word} stands in the log`);
      }
      this.gateway.stderr = '';
      for (const id of this.ids) if (this.logged.has(id)) this.ids.delete(id);
      this.logged = new Set([...this.logged].slice(-5000));
      if (!this.ids.size) return;
      assert.ok(Date.now() < end, `no log line of ${[...this.ids].slice(0, 3)}`);
      await sleep(20);
    }
  }

  async run() {
    this.began = Date.now();
    try {
      await this.start();
      const works = Array.from({length: this.workers}, (_, i) => this.work(i)), reloading = this.reloads();
      const end = this.began + this.seconds * 1000, pause = Math.min(60000, this.seconds * 1000 / 5);
      for (let next = this.began + pause; Date.now() < end && !this.over;) {
        await sleep(50);
        if (Date.now() < next) continue;
        await this.still();
        next = Date.now() + pause;
      }
      if (!this.over) await this.still();
      this.over = true;
      await Promise.all([...works, reloading]);
      if (!this.problems.length) this.compare();
    } catch (error) {
      this.problem('the soak', error);
    } finally {
      await this.stop();
    }
    return this;
  }

  /** What is there at the end is what was there when it was warm. */
  compare() {
    const warm = this.samples[Math.floor(this.samples.length * 0.4)], last = this.samples.at(-1);
    const most = this.build === 'debug' ? warm.kB * 1.25 + 24000 : warm.kB * 1.1 + 6000;
    if (last.files > warm.files + 2) this.problem('descriptors', `${last.files}, and ${warm.files} before`);
    if (last.kB > most) this.problem('memory', `${last.kB} kB, and ${warm.kB} kB before`);
    const whole = Object.values(this.counts).reduce((n, c) => n + (c.whole ?? 0), 0);
    if (whole < this.serial / 3) this.problem('the soak', `only ${whole} of ${this.serial} requests were answered`);
  }

  async stop() {
    this.over = true;
    const things = [this.clientRelay, this.gateway, this.routeRelay, this.upstream, ...(this.sites ?? [])];
    for (const thing of things) await thing?.stop().catch((error) => this.problem('the end', error));
  }
}

/** A service that calls a tool, with the word as its argument. */
function speakCall(r, res) {
  const {word} = orderIn(r.body), call = {id: `call_${word}`, type: 'function', function: {name: r.json.tools[0].function.name, arguments: JSON.stringify({word})}};
  if (!r.json.stream) {
    return this.json(res, 200, {id: 'x', object: 'chat.completion', created: 1, model: 'm', choices: [{index: 0, message: {role: 'assistant', content: null, tool_calls: [call]}, finish_reason: 'tool_calls'}]});
  }
  this.sseHead(res);
  const {arguments: text} = call.function;
  this.event(res, answerPiece({tool_calls: [{index: 0, ...call, function: {...call.function, arguments: ''}}]}));
  for (const piece of text.match(/.{1,5}/g)) this.event(res, answerPiece({tool_calls: [{index: 0, function: {arguments: piece}}]}));
  this.event(res, answerPiece({}, 'tool_calls'));
  res.end('data: [DONE]\n\n');
}

export const soak = (options) => new Soak(options).run();

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const seed = seedOf(process.env.SOAK_SEED), build = process.env.SOAK_BUILD || 'debug', minutes = Number(process.env.MINUTES || 30);
  console.log(`SOAK_SEED=${seed} SOAK_BUILD=${build} MINUTES=${minutes}`);
  const {problems, counts, samples, serial, gateway} = await soak({seed, build, seconds: minutes * 60, only: process.env.SOAK_ONLY?.split(',') ?? null, workers: Number(process.env.SOAK_WORKERS || 12), say: (text) => console.log(text)});
  console.log(`${serial} requests: ${JSON.stringify(counts)}`);
  console.log(`memory ${samples[0]?.kB} → ${samples.at(-1)?.kB} kB, descriptors ${samples[0]?.files} → ${samples.at(-1)?.files}`);
  for (const problem of problems) console.log(`PROBLEM ${problem}`);
  if (problems.length) console.log(`the log's last lines:\n${gateway?.stderr.slice(-3000)}\nagain with SOAK_SEED=${seed}`);
  console.log(problems.length ? 'FAILED' : 'passed');
  process.exit(problems.length ? 1 : 0);
}
