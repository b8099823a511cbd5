// What a site cannot do and dragoman does for it: several choices, token limits, leaked <think>, token counts.
import assert from 'node:assert/strict';
import {afterEach, describe, it} from 'node:test';
import {OpenAiSite} from '../sites/openai.mjs';
import {within} from '../sites/site.mjs';
import {Zai, answers, jwt, say} from '../sites/zai.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkError, checkStream, user} from './lib/http.mjs';

const running = [];
async function serve(site, {adapter, model, keys, ...more}) {
  running.push(await site.start());
  const gateway = await startGateway({keys, sites: [{name: 's', adapter, ...site.config(more)}]});
  running.push(gateway);
  return {site, gateway, ask: (body, options) => chat(gateway.base, {model: `s/${model}`, ...user('Say it.'), ...body}, options)};
}
const zai = (more = {}) => serve(new Zai({}), {adapter: 'zai', model: 'glm-4.6', accounts: [{name: 'me', token: jwt('person')}], ...more});
async function openai(more = {}) {
  const site = new OpenAiSite();
  const served = await serve(site, {adapter: 'openai', model: 'm', accounts: [{name: 'a', api_key: 'sk-upstream'}], ...more});
  return served;
}
afterEach(async () => {
  for (const thing of running.splice(0).reverse()) await thing.stop();
});

/** A stand-in's streamed answer in OpenAI's shape: these pieces of content, no usage. */
const pieces = (list, {reasoning = [], usage} = {}) => function (r, res) {
  res.writeHead(200, {'content-type': 'text/event-stream'});
  const chunk = (delta, finish_reason = null) => res.write(`data: ${JSON.stringify({id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm',
    choices: [{index: 0, delta, finish_reason}]})}\n\n`);
  for (const reasoning_content of reasoning) chunk({reasoning_content});
  for (const content of list) chunk({content});
  chunk({}, 'stop');
  if (usage) res.write(`data: ${JSON.stringify({id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [], usage})}\n\n`);
  res.end('data: [DONE]\n\n');
};

describe('n > 1 at a site that gives one choice at a time', () => {
  it('streamed: parallel requests, merged by index', async () => {
    const {site, ask} = await zai({max_concurrent: 3});
    for (const word of ['zero', 'one', 'two']) site.next(function (r, res) {
      this.sseHead(res);
      for (const event of [say(word), say(' and more'), ...answers.plain.slice(-2)]) this.event(res, event);
      res.end();
    });
    const answer = checkStream(await (await ask({n: 3, stream: true, stream_options: {include_usage: true}})).text(), {n: 3, usage: true});
    assert.deepEqual(answer.choices.map((c) => c.content).sort(), ['one and more', 'two and more', 'zero and more']);
    assert.deepEqual(answer.choices.map((c) => c.finish), ['stop', 'stop', 'stop']);
    assert.equal(site.chatRequests().length, 3);
    assert.deepEqual([answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.dragoman_source], [33, 27, 'upstream']);
    assert.deepEqual(site.violations, []);
  });

  it('whole, one account that takes one request at a time: one after another', async () => {
    const {site, gateway, ask} = await zai({max_concurrent: 1});
    const {choices, usage} = await (await ask({n: 4})).json();
    assert.deepEqual(choices.map((c) => [c.index, c.message.content]), [0, 1, 2, 3].map((i) => [i, '你好, world 🌍']));
    assert.equal(usage.completion_tokens, 36);
    assert.equal(site.chatRequests().length, 4);
    await gateway.logged(/runs=4 .*end=complete/);
  });

  it('one that fails ends the answer: an error, and nothing is left behind', async () => {
    const {site, gateway, ask} = await zai({max_concurrent: 2});
    let other;
    site.next(function (r, res) {
      other = r;
      this.sseHead(res);
      this.event(res, say('this goes on'));
    });
    let firstPiece;
    const begun = new Promise((resolve) => (firstPiece = resolve));
    site.next(async function (r, res) {
      await begun; // a failure before the first piece is a status, not an event
      this.sseHead(res);
      for (const event of answers.internal) this.event(res, event);
      res.end();
    });
    const answer = await ask({n: 2, stream: true});
    let text = '';
    for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (text.includes('this goes on')) firstPiece();
    }
    assert.match(text.trim().split('\n\n').at(-1), /^data: \{"error":/);
    assert.doesNotMatch(text, /\[DONE\]/);
    await within(2000, other.aborted, 'the end of the other request');
    await gateway.logged(/end=(cut|failed)/);
    assert.equal((await (await ask({})).json()).choices.length, 1); // the account is free
  });

  it('the client leaves: every request to the site ends', async () => {
    const {site, gateway, ask} = await zai({max_concurrent: 3});
    const records = [];
    let all;
    const begun = new Promise((resolve) => (all = resolve));
    for (let i = 0; i < 3; i++) site.next(function (r, res) {
      this.sseHead(res);
      this.event(res, say('goes on'));
      if (records.push(r) === 3) all();
    });
    const stop = new AbortController();
    const response = await ask({n: 3, stream: true}, {signal: stop.signal});
    await begun;
    stop.abort();
    await response.text().catch(() => {});
    for (const record of records) await within(2000, record.aborted, 'the end of a request');
    await gateway.logged(/end=cancelled/);
  });

  for (const stream of [true, false]) {
    it(`a service that takes n and gives one choice: the others are asked for, ${stream ? 'streamed' : 'whole'}`, async () => {
      const {site, ask} = await openai();
      let asked = 0;
      for (let i = 0; i < 3; i++) site.plans.push(function (r, res) {
        assert.equal(r.json.n ?? 1, asked ? 1 : 3);
        const word = ['zero', 'one', 'two'][asked++];
        if (stream) return pieces([word]).call(this, r, res);
        this.json(res, 200, {id: 'x', object: 'chat.completion', created: 1, model: 'm', choices: [{index: 0, message: {role: 'assistant', content: word}, finish_reason: 'stop'}],
          usage: {prompt_tokens: 4, completion_tokens: 1, total_tokens: 5}});
      });
      const response = await ask({n: 3, stream});
      if (stream) {
        const {choices} = checkStream(await response.text(), {n: 3});
        assert.deepEqual([choices[0].content, ...choices.slice(1).map((c) => c.content).sort()], ['zero', 'one', 'two']);
      } else {
        const {choices, usage} = await response.json();
        assert.deepEqual(choices.map((c) => c.index), [0, 1, 2]);
        assert.equal(choices[0].message.content, 'zero');
        assert.deepEqual([usage.prompt_tokens, usage.completion_tokens, usage.dragoman_source], [12, 3, 'upstream']);
      }
      assert.equal(asked, 3);
      assert.deepEqual(site.violations, []);
    });
  }

  it('bad numbers: 400', async () => {
    const {ask} = await zai();
    for (const n of [0, -1, 129, 1.5, '2']) await checkError(await ask({n}), {status: 400, type: 'invalid_request_error', code: 'invalid_value', param: 'n'});
  });
});

describe('max_tokens at a site without it', () => {
  const long = ['one two', ' three fo', 'ur five six seven'];
  for (const [field, limit] of [['max_tokens', 4], ['max_completion_tokens', 4]]) {
    it(`${field}: cut between tokens, finish_reason length, the site is told to stop`, async () => {
      const {site, gateway, ask} = await zai();
      let record;
      site.next(function (r, res) {
        record = r;
        this.sseHead(res);
        for (const piece of long) this.event(res, say(piece));
      });
      const answer = checkStream(await (await ask({[field]: limit, stream: true})).text());
      assert.deepEqual([answer.content, answer.finish], ['one two three four', 'length']);
      await within(2000, record.aborted, "the end of the site's answer");
      await gateway.logged(/end=complete.* tokens_out=4 tokens_out_source=counted/);
    });
  }

  it('an answer that fits is not touched', async () => {
    const {ask} = await zai();
    const {choices} = await (await ask({max_tokens: 300})).json();
    assert.deepEqual([choices[0].message.content, choices[0].finish_reason], ['你好, world 🌍', 'stop']);
  });

  it('thinking counts for max_completion_tokens, not for max_tokens', async () => {
    const {site, ask} = await zai();
    const think = function (r, res) {
      this.sseHead(res);
      for (const event of [say('first then', 'thinking'), say(' next last', 'thinking'), say('four words of answer'), ...answers.plain.slice(-2)]) this.event(res, event);
      res.end();
    };
    site.next(think);
    const {choices: [a]} = await (await ask({max_tokens: 2})).json();
    assert.deepEqual([a.message.reasoning_content, a.message.content, a.finish_reason], ['first then next last', 'four words', 'length']);
    site.next(think);
    const {choices: [b]} = await (await ask({max_completion_tokens: 5})).json();
    assert.deepEqual([b.message.reasoning_content, b.message.content, b.finish_reason], ['first then next last', 'four', 'length']);
  });
});

describe('a service that leaks <think> into content', () => {
  const leaked = ['<th', 'ink>\nFirst I', ' add.', '</thi', 'nk>\n\nThe <think>sum</think>', ' is 4.'];
  for (const stream of [true, false]) {
    it(`becomes reasoning_content, ${stream ? 'streamed' : 'whole'}`, async () => {
      const {site, ask} = await openai();
      site.plans.push(stream ? pieces(leaked) : {status: 200, json: {id: 'x', object: 'chat.completion', created: 1, model: 'm',
        choices: [{index: 0, message: {role: 'assistant', content: leaked.join('')}, finish_reason: 'stop'}]}});
      const response = await ask({stream});
      if (stream) {
        const {reasoning, content} = checkStream(await response.text());
        assert.deepEqual([reasoning, content], ['First I add.', 'The <think>sum</think> is 4.']);
      } else {
        const {message} = (await response.json()).choices[0];
        assert.deepEqual([message.reasoning_content, message.content], ['First I add.', 'The <think>sum</think> is 4.']);
      }
    });
  }

  it('a key can have it untouched, as tags, or not at all', async () => {
    const keys = ['untouched', 'think', 'drop'].map((reasoning) => ({name: reasoning, key: `sk-${reasoning}`, reasoning}));
    const {site, ask} = await openai({keys});
    for (const [reasoning, wanted] of [['untouched', leaked.join('')], ['think', '<think>\nFirst I add.\n</think>\n\nThe <think>sum</think> is 4.'],
      ['drop', 'The <think>sum</think> is 4.']]) {
      site.plans.push(pieces(leaked));
      const answer = checkStream(await (await ask({stream: true}, {headers: {authorization: `Bearer sk-${reasoning}`}})).text());
      assert.deepEqual([answer.content, answer.reasoning], [wanted, '']);
    }
  });

  it('thinking in its own field: tags in the content are the content', async () => {
    const {site, ask} = await openai();
    site.plans.push(pieces(['<think> is a tag.'], {reasoning: ['Hm.']}));
    const {reasoning, content} = checkStream(await (await ask({stream: true})).text());
    assert.deepEqual([reasoning, content], ['Hm.', '<think> is a tag.']);
  });

  it('an answer that only looks like it: nothing is lost', async () => {
    const {site, ask} = await openai();
    for (const text of ['<thin', '<thinking>x', ' <b>', '<think>never closed']) {
      site.plans.push(pieces([...text]));
      const {reasoning, content} = checkStream(await (await ask({stream: true})).text());
      assert.equal(reasoning + content, text.replace('<think>', ''));
    }
  });

  it('nothing but thoughts is an answer as far as they are shown, and none where they are not', async () => {
    const keys = ['field', 'think', 'drop'].map((reasoning) => ({name: reasoning, key: `sk-${reasoning}`, reasoning}));
    const {site, ask} = await openai({keys});
    const only = {leaked: pieces(['<think>Hm.', '</think>']), told: pieces([], {reasoning: ['Hm.']})};
    for (const [name, plan] of Object.entries(only)) {
      for (const stream of [true, false]) {
        const as = async (reasoning) => {
          site.plans.push(plan);
          return ask({stream}, {headers: {authorization: `Bearer sk-${reasoning}`}});
        };
        for (const [reasoning, wanted] of [['field', {reasoning: 'Hm.', content: ''}], ['think', {reasoning: '', content: '<think>\nHm.\n</think>\n\n'}]]) {
          const answer = await as(reasoning);
          assert.equal(answer.status, 200);
          const got = stream ? checkStream(await answer.text()) : await answer.json().then(({choices: [{message: m}]}) => ({reasoning: m.reasoning_content ?? '', content: m.content}));
          assert.deepEqual({reasoning: got.reasoning, content: got.content}, wanted, `${name} ${stream}`);
        }
        site.plans.push(plan); // the empty answer is asked for once more
        await checkError(await as('drop'), {status: 502, type: 'upstream_error', code: 'upstream_empty'});
        site.plans.splice(0);
      }
    }
    site.plans.push(pieces([], {reasoning: ['Hm.']}));
    const stopped = await ask({stop: 'x'}, {headers: {authorization: 'Bearer sk-drop'}});
    assert.deepEqual([stopped.status, (await stopped.json()).choices[0].message.content], [200, '']);
  });
});

describe('token counts', () => {
  it("a site that does not tell: counted, and so said", async () => {
    const {site, gateway, ask} = await openai();
    site.plans.push(pieces(['The quick brown fox', ' jumps over', ' the lazy dog.']));
    const {usage} = checkStream(await (await ask({stream: true, stream_options: {include_usage: true}})).text(), {usage: true});
    assert.deepEqual(usage, {prompt_tokens: 10, completion_tokens: 10, total_tokens: 20, completion_tokens_details: {reasoning_tokens: 0}, dragoman_source: 'counted'});
    await gateway.logged(/tokens_in=10 tokens_in_source=counted tokens_out=10 tokens_out_source=counted/);
  });

  it("the site's own figures are kept, with everything that stands beside them", async () => {
    const {site, gateway, ask} = await openai();
    const told = {prompt_tokens: 7, completion_tokens: 5, total_tokens: 12, prompt_tokens_details: {cached_tokens: 3}, cost: 0.25};
    site.plans.push(pieces(['x'], {usage: told}));
    const {usage} = checkStream(await (await ask({stream: true, stream_options: {include_usage: true}})).text(), {usage: true});
    assert.deepEqual(usage, {...told, dragoman_source: 'upstream'});
    await gateway.logged(/tokens_in=7 tokens_in_source=upstream tokens_out=5 tokens_out_source=upstream/);
  });

  it('without the table: an estimate, and so said', async () => {
    const {copyFileSync, mkdtempSync, rmSync} = await import('node:fs');
    const {binary, Gateway} = await import('./lib/gateway.mjs');
    const {join} = await import('node:path');
    const {tmpdir} = await import('node:os');
    const folder = mkdtempSync(join(tmpdir(), 'dragoman-alone-'));
    const site = await new OpenAiSite().start();
    const alone = new Gateway({sites: [{name: 's', adapter: 'openai', ...site.config({accounts: [{name: 'a', api_key: 'sk-upstream'}]})}]}, {program: join(folder, 'dragoman')});
    try {
      copyFileSync(binary, join(folder, 'dragoman'));
      await alone.start();
      site.plans.push(pieces(['abcdefgh', 'ijkl']));
      const {usage} = checkStream(await (await chat(alone.base, {model: 's/m', ...user('hello'), stream: true, stream_options: {include_usage: true}})).text(), {usage: true});
      assert.deepEqual([usage.completion_tokens, usage.dragoman_source], [3, 'estimated']);
    } finally {
      await alone.stop();
      await site.stop();
      rmSync(folder, {recursive: true, force: true});
    }
  });
});
