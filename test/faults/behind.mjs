// Stand-in sites behind relays, and what a client should still have of their answers: the same for sites of very different framing.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {answerPiece} from '../e2e/lib/clients.mjs';
import {chat, checkStream, parseEvents, user} from '../e2e/lib/http.mjs';
import {isUuid, within} from '../sites/site.mjs';
import * as kimi from '../sites/kimi.mjs';
import {OpenAiSite} from '../sites/openai.mjs';
import * as zai from '../sites/zai.mjs';
import {Relay} from './relay.mjs';

const token = zai.jwt('person');

/** Each answers in chunks of one event; `TEXT` is what they say, and `chunks` how many chunks there are before the one that ends the text. */
export const TEXT = 'Half of the answer, and then the other.', PIECES = ['Half of ', 'the answer, ', 'and then ', 'the other.'];

/** One chunk of the body for each event, so that there are places between them; the last one goes with the end. */
async function singly(res, events, pause = 2) {
  for (const event of events.slice(0, -1)) {
    if (!res.write(event)) await Promise.race([once(res, 'drain'), once(res, 'close')]);
    if (pause) await new Promise((resolve) => setTimeout(resolve, pause));
    if (res.destroyed) return;
  }
  res.end(events.at(-1));
}

const sse = (events) => events.map((e) => `data: ${typeof e === 'string' ? e : JSON.stringify(e)}\n\n`);

export const KINDS = {
  openai: {
    make: (o) => new OpenAiSite(o), model: 'gpt-test', prefix: '/v1', accounts: [{name: 'a', api_key: 'sk-upstream'}], firstPiece: 1,
    async plan(r, res) {
      if (!r.json.stream) {
        return this.json(res, 200, {id: 'x', object: 'chat.completion', created: 1, model: 'm', choices: [{index: 0, message: {role: 'assistant', content: this.pieces(r).join('')}, finish_reason: 'stop'}]});
      }
      this.sseHead(res);
      await singly(res, sse([...this.pieces(r).map((content) => answerPiece({content})), answerPiece({}, 'stop'), '[DONE]']), this.pause(r));
    },
  },
  zai: {
    make: (o) => new zai.Zai({tokens: [token], ...o}), model: 'glm-4.7', prefix: '', accounts: [{name: 'a', token}], firstPiece: 1,
    async plan(r, res) {
      this.sseHead(res);
      await singly(res, sse([...this.pieces(r).map((text) => zai.say(text)), zai.usage, zai.done]), this.pause(r));
    },
  },
  kimi: {
    make: (o) => new kimi.Kimi({rotates: false, ...o}), model: 'kimi-k2.6', prefix: '', accounts: [{name: 'a', refresh_token: 'cpmt_0'}], firstPiece: 2,
    options: (site) => ({auth_url: site.auth.origin}),
    async plan(r, res) {
      res.writeHead(200, {'content-type': 'application/connect+json'});
      const [first, ...others] = this.pieces(r);
      await singly(res, [...[kimi.heartbeat, kimi.say(first, {op: 'set'}), ...others.map((p) => kimi.say(p)), ...kimi.answers.plain.slice(-2)].map((e) => kimi.envelope(e)), kimi.envelope({}, 2)], this.pause(r));
    },
  },
};

/** {site, relay, entry (for [[sites]]), model, stop()}: the gateway reaches the site through the relay alone. */
export async function startBehind(kind, {tls = false, name = kind, via, ...more} = {}) {
  const k = KINDS[kind], site = await k.make({tls: tls && 'good'}).start(), relay = await new Relay(via ?? site).start();
  if (!via) {
    site.authority = `${site.host}:${relay.port}`;
    site.origin = `${tls ? 'https' : 'http'}://${site.authority}`;
  }
  site.plans = {shift: () => k.plan, length: 0}; // whatever is asked, and however often
  Object.assign(site, {pieces: () => PIECES, pause: () => 2}); // may be replaced
  // What was sent once more, because the connection had gone, is the same request to the letter.
  site.fresh = (what, id) => site.check(isUuid(id), `${what} is no version 4 UUID: ${id}`);
  return {
    site, relay, kind, name, spoken: k.plan, model: `${name}/${k.model}`, firstPiece: k.firstPiece,
    entry: {name, adapter: kind, ...site.config({...(k.options ? {options: k.options(site)} : {}), ...more}), base_url: site.origin + k.prefix, accounts: k.accounts},
    async stop() {
      await relay.stop();
      await site.stop();
    },
  };
}

/** What a request for an answer looks like on its way up, when the text that was sent has this word. */
export const asks = (word) => new RegExp(`POST \\S*(chat/completions|ChatService/Chat)[^]*${word}`);

/** Asks for TEXT. */
export const ask = (gateway, behind, {stream = true, word = 'it', ...more} = {}) => chat(gateway.base, {model: behind.model, stream, ...user(`Say ${word}.`)}, more);

/** What came of an answer, whatever that is, and never later than after `ms`: {status, content, end: 'whole' | 'marked' | 'error', code}. */
export async function outcome(promise, ms = 8000) {
  const response = await within(ms, promise, 'the head of the answer'), text = await within(ms, response.text(), 'the end of the answer');
  const id = response.headers.get('x-request-id');
  if (!/event-stream/.test(response.headers.get('content-type'))) {
    const body = JSON.parse(text), message = (body.dragoman_partial ?? body).choices?.[0].message;
    if (response.status === 200) return {id, status: 200, content: message.content, end: 'whole'};
    for (const key of ['message', 'type', 'code']) assert.equal(typeof body.error[key], 'string');
    return {id, status: response.status, content: message?.content ?? '', end: 'error', code: body.error.code};
  }
  const {events} = parseEvents(text);
  if (events.at(-1) === '[DONE]') return {id, status: 200, content: checkStream(text).content, end: 'whole'};
  const error = events.at(-1)?.error;
  assert.ok(error, `neither an end nor an error: ${JSON.stringify(events.slice(-2))}`);
  const said = events.slice(0, -1);
  assert.ok(said.every((e) => e !== '[DONE]' && e.choices[0].finish_reason === null), 'half an answer that looks whole');
  return {id, status: 200, content: said.map((e) => e.choices[0].delta.content ?? '').join(''), end: 'marked', code: error.code};
}

/**
 * A client whose stream goes on all the time, while things happen to others: a word each 20 ms. `stop()` says what was
 * wrong with it: every word once, in order, none later than `most` ms after the one before.
 */
export class Companion {
  constructor({most = 2500} = {}) {
    this.most = most;
  }

  /** entry for [[sites]], before the gateway starts. */
  async prepare() {
    this.site = await new OpenAiSite({tls: false}).start();
    this.entry = {name: 'companion', adapter: 'openai', base_url: `${this.site.origin}/v1`, models: ['gpt-test'], accounts: [{name: 'c', api_key: 'sk-upstream'}]};
    return this;
  }

  async accompany(gateway, options) {
    const companion = this;
    this.said = 0;
    this.site.next(function (r, res) {
      this.sseHead(res);
      const timer = setInterval(() => this.event(res, answerPiece({content: `${companion.said++} `})), 20);
      companion.finish = () => {
        clearInterval(timer);
        for (const event of [answerPiece({}, 'stop'), '[DONE]']) this.event(res, event);
        res.end();
      };
      res.on('close', () => clearInterval(timer));
    });
    this.gap = 0;
    const response = await chat(gateway.base, {model: 'companion/gpt-test', stream: true, ...user('go on')}, options);
    assert.equal(response.status, 200);
    this.text = (async () => {
      let text = '', last = performance.now();
      const decoder = new TextDecoder();
      for await (const bytes of response.body) {
        const now = performance.now();
        this.gap = Math.max(this.gap, now - last);
        last = now;
        text += decoder.decode(bytes, {stream: true});
      }
      return text;
    })();
    this.text.catch(() => {}); // stop() says so
    return this;
  }

  async stop() {
    try {
      this.finish?.();
      if (!this.text) return;
      const {content} = checkStream(await within(5000, this.text, "the end of the companion's stream"));
      assert.equal(content, Array.from({length: this.said}, (_, i) => `${i} `).join(''), 'a word was lost');
      assert.ok(this.gap < this.most, `the companion's stream stood still for ${Math.round(this.gap)} ms`);
    } finally {
      await this.site.stop();
    }
  }
}

/** A list for what is to be stopped when this test is over: the last first, all of it whatever happens. */
export function cleanUp(t) {
  const running = [];
  t.after(async () => {
    const problems = [];
    for (const thing of running.splice(0).reverse()) await thing.stop().catch((error) => problems.push(error));
    assert.deepEqual(problems, []);
  });
  return running;
}
