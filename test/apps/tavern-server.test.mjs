// SillyTavern's own server against the gateway, asked as its page asks it: what a chat needs, and what it passes on when a site fails.
import assert from 'node:assert/strict';
import {after, afterEach, before, describe, it} from 'node:test';
import {within} from '../sites/site.mjs';
import {answers} from '../sites/zai.mjs';
import {checkBrokenStream, checkErrorObject, checkStream} from '../e2e/lib/http.mjs';
import {KEY, faulty, startSites} from './lib/sites.mjs';
import {Tavern} from './lib/tavern.mjs';

let sites, tavern, base;
before(async () => {
  sites = await startSites();
  base = sites.gateway.base;
  tavern = await new Tavern().start();
}, {timeout: 180000});
after(async () => {
  await tavern?.stop();
  await sites?.stop();
});
afterEach(() => {
  for (const site of [sites.zai, sites.open]) assert.deepEqual(site.violations.splice(0), []);
});

const ask = (messages, more, options) => tavern.generate(base, messages, more, options);
const whole = async (...args) => (await ask(...args)).json();
const streamed = async (messages, more = {}, rules) => checkStream(await (await ask(messages, {...more, stream: true})).text(), rules);

/** What its prompt manager makes of a character, a lore book, an example dialogue and a short chat. */
const PROMPT = [
  {role: 'system', content: "Write Seraphina's next reply in a fictional chat between Seraphina and Ann."},
  {role: 'system', content: '[Seraphina is a guardian of the forest.]'},
  {role: 'system', content: '[Example Chat]'},
  {role: 'system', name: 'example_user', content: 'Who are you?'},
  {role: 'system', name: 'example_assistant', content: 'A friend.'},
  {role: 'system', content: '[Start a new Chat]'},
  {role: 'assistant', name: 'Seraphina', content: '*You wake with a start.*'},
  {role: 'user', name: 'Ann', content: 'Where am I?'},
  {role: 'system', content: '[System note: stay in character.]'},
];

describe('a good connection', () => {
  before(() => tavern.setKey(KEY));

  for (const slash of ['', '/']) {
    describe(`base URL …/v1${slash}`, () => {
      it('lists the models', async () => {
        const {status, error, data} = await tavern.connect(base + slash);
        assert.deepEqual([status, error], [200, undefined]);
        const ids = data.map((model) => model.id);
        for (const id of ['demo/echo', 'demo/slow', 'gpt-test', 'org/nested:free', 'status-429']) assert.ok(ids.includes(id), `${id} in ${ids}`);
      });

      it('gets a whole answer', async () => {
        const answer = await (await tavern.generate(base + slash, 'Größe 你好 🌍')).json();
        assert.equal(answer.choices[0].message.content, 'Größe 你好 🌍');
        assert.equal(answer.choices[0].finish_reason, 'stop');
      });

      it('gets a stream', async () => {
        const response = await tavern.generate(base + slash, 'Größe 你好 🌍', {stream: true});
        assert.equal(response.status, 200);
        assert.equal(checkStream(await response.text()).content, 'Größe 你好 🌍');
      });
    });
  }

  it('gets the first words of a stream while the last are not yet written', async () => {
    const response = await ask('100 a b c d e f', {model: 'demo/slow', stream: true});
    const pieces = [];
    for await (const bytes of response.body) pieces.push(Buffer.from(bytes).toString());
    assert.ok(pieces.length >= 4, `${pieces.length} pieces`);
    assert.ok(!pieces[0].includes('[DONE]'));
  });

  for (const model of ['demo/echo', 'open/gpt-test']) {
    it(`gets several swipes of ${model}, whole and streamed`, async () => {
      const {choices} = await whole('again please', {model, n: 3});
      assert.deepEqual(choices.map((c) => [c.index, c.message.content]), [0, 1, 2].map((i) => [i, 'again please']));
      const stream = await streamed('again please', {model, n: 3}, {n: 3});
      assert.deepEqual(stream.choices.map((c) => c.content), Array(3).fill('again please'));
    });
  }

  it('gets several swipes of a site that gives one answer at a time', async () => {
    const asked = sites.zai.chatRequests().length;
    const {choices} = await whole('again please', {model: 'zai/glm-4.7', n: 2});
    assert.deepEqual(choices.map((c) => [c.index, c.message.content]), [0, 1].map((i) => [i, '你好, world 🌍']));
    const stream = await streamed('again please', {model: 'zai/glm-4.7', n: 2}, {n: 2});
    assert.deepEqual(stream.choices.map((c) => c.content), Array(2).fill('你好, world 🌍'));
    assert.equal(sites.zai.chatRequests().length - asked, 4);
  });

  it('gets thinking apart from the text', async () => {
    sites.zai.next(answers.reasoning, answers.reasoning);
    for (const [model, thought, text] of [
      ['demo/reasoner', 'The person says 2 words. I shall say them again.', 'think twice'],
      ['zai/glm-4.7', 'First I add. Then I check.', 'The sum is 4.'],
    ]) {
      const stream = await streamed('think twice', {model});
      assert.deepEqual([stream.reasoning, stream.content], [thought, text]);
      const {message} = (await whole('think twice', {model})).choices[0];
      assert.deepEqual([message.reasoning_content, message.content], [thought, text]);
    }
  });

  it("sends its whole prompt: many system messages, names, an assistant's word first", async () => {
    await streamed(PROMPT, {model: 'open/gpt-test'});
    assert.deepEqual(sites.open.chatRequests().at(-1).json.messages, PROMPT);
  });

  it('sends it to a site with rules of its own, and nothing is lost', async () => {
    assert.equal((await streamed(PROMPT, {model: 'zai/glm-4.7'})).content, '你好, world 🌍');
    const sent = JSON.stringify(sites.zai.chatRequests().at(-1).json.messages);
    for (const {content} of PROMPT) assert.ok(sent.includes(JSON.stringify(content).slice(1, -1)), content);
  });

  it('may put the first words into the mouth of the model', async () => {
    const prompt = [...PROMPT, {role: 'assistant', content: 'Seraphina smiles and'}];
    assert.equal((await streamed(prompt, {model: 'zai/glm-4.7'})).content, '你好, world 🌍');
    assert.equal((await ask(prompt, {model: 'open/gpt-test'})).status, 200);
    assert.equal(sites.open.chatRequests().at(-1).json.messages.at(-1).content, 'Seraphina smiles and');
  });

  for (const mode of ['merge_tools', 'semi_tools', 'strict_tools', 'merge', 'semi', 'strict', 'single']) {
    it(`may post-process the prompt: ${mode}`, async () => {
      assert.equal((await streamed(PROMPT, {model: 'zai/glm-4.7', custom_prompt_post_processing: mode})).content, '你好, world 🌍');
    });
  }

  it('runs tools: the call in fragments, then its result', async () => {
    const tools = [{type: 'function', function: {name: 'roll_dice', description: 'Rolls dice', parameters: {
      $schema: 'http://json-schema.org/draft-04/schema#', type: 'object', properties: {sides: {type: 'integer'}}, required: ['sides']}}}];
    const more = {model: 'demo/tools', tools, tool_choice: 'auto'};
    const {calls: [call], finish} = await streamed('Roll!', more);
    assert.equal(finish, 'tool_calls');
    assert.deepEqual([call.name, JSON.parse(call.arguments)], ['roll_dice', {sides: 1}]);
    const history = [{role: 'user', content: 'Roll!'},
      {role: 'assistant', tool_calls: [{id: call.id, type: 'function', function: {name: call.name, arguments: call.arguments}}]},
      {role: 'tool', tool_call_id: call.id, content: 'a four'}];
    assert.equal((await streamed(history, more)).content, 'The tool says: a four');
    assert.equal((await whole(history, more)).choices[0].message.content, 'The tool says: a four');
  });

  it('may ask for token probabilities, a seed, a bias, stop strings and a schema', async () => {
    const answer = await whole('a b', {model: 'open/gpt-test', logprobs: 5, seed: 7, logit_bias: {50256: -100}, stop: ['\nAnn:'], top_k: 40});
    assert.equal(answer.choices[0].logprobs.content[0].token, 'a b');
    const sent = sites.open.chatRequests().at(-1).json;
    assert.deepEqual([sent.logprobs, sent.top_logprobs, sent.seed, sent.logit_bias, sent.stop], [true, 5, 7, {50256: -100}, ['\nAnn:']]);
    const object = await whole('x', {json_schema: {name: 'mood', value: {type: 'object', properties: {mood: {enum: ['calm', 'wild']}}, required: ['mood']}}});
    assert.deepEqual(JSON.parse(object.choices[0].message.content), {mood: 'calm'});
  });

  it('may add fields and headers of its own', async () => {
    const more = {custom_include_body: 'enable_thinking: true\nchat_template_kwargs:\n  thinking: true', custom_include_headers: 'X-Title: SillyTavern', custom_exclude_body: '- top_p'};
    assert.equal((await streamed('x', more)).content, 'x');
    assert.equal((await streamed('x', {...more, model: 'zai/glm-4.7'})).content, '你好, world 🌍');
  });

  for (const stream of [true, false]) {
    it(`leaves, ${stream ? 'streamed' : 'whole'}: the site's request ends at once and its only account is free`, async () => {
      const {gateway, open} = sites;
      const from = gateway.stderr.length, before = open.chatRequests().length;
      open.next(function (r, res) {
        this.sseHead(res);
        this.event(res, {id: 'up', object: 'chat.completion.chunk', created: 1, model: 'gpt-test', choices: [{index: 0, delta: {content: 'Once'}, finish_reason: null}]});
      });
      const leave = new AbortController();
      let began;
      const beginning = new Promise((resolve) => (began = resolve));
      const reading = ask('a long story', {model: 'open/gpt-test', stream}, {signal: leave.signal}).then(async (response) => {
        for await (const _ of response.body) began();
      });
      const left = assert.rejects(reading, {name: 'AbortError'});
      const record = await within(5000, open.request((r) => r.path.endsWith('/chat/completions'), before), 'the request at the site');
      if (stream) await within(5000, beginning, 'the first words');
      leave.abort();
      await left;
      assert.ok(await within(5000, record.aborted, 'the end of the request at the site'));
      await gateway.logged(/end=cancelled/, {from, ms: 5000});
      assert.equal((await whole('next', {model: 'open/gpt-test'})).choices[0].message.content, 'next');
    });
  }
});

describe('a failure', () => {
  before(() => tavern.setKey(KEY));
  const rows = [
    ['an unknown model', {model: 'demo/eccho'}, [404, 'Not Found'], 'model_not_found', /demo\/eccho.*demo\/echo/],
    ['a site that limits us', {model: faulty('limited')}, [429, 'Too Many Requests'], 'upstream_rate_limited', /ready again in 1[5-7] s/],
    ['a bot check', {model: faulty('guarded')}, [403, 'Forbidden: the site asks for a human'], 'upstream_challenge', /human|bot|browser/],
    ['a prompt that is too long', {messages: [{role: 'user', content: '!error context_length'}]}, [400, 'Bad Request: the prompt is too long'], 'context_length_exceeded', /./],
    ['an overloaded site', {messages: [{role: 'user', content: '!error overloaded 9'}]}, [503, 'Service Unavailable: the site is overloaded'], 'upstream_overloaded', /./],
  ];
  for (const [what, more, [status, reason], code, message] of rows) {
    it(`${what}, streamed: its status, and words for the person`, async () => {
      const response = await ask('hi', {...more, stream: true});
      assert.deepEqual([response.status, response.statusText], [status, reason]);
      const {error} = await response.json();
      checkErrorObject(error);
      assert.equal(error.code, code);
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /sk-|secret/);
      assert.notEqual(error.type, 'insufficient_quota');
    });
    it(`${what}, whole: the reason phrase is all that it passes on`, async () => {
      assert.deepEqual(await whole('hi', more), {error: {message: reason}, quota_error: false});
    });
  }

  it('an answer that is cut: the text, then an error, and never an end', async () => {
    const {content, error} = checkBrokenStream(await (await ask('hi', {model: faulty('broken'), stream: true})).text());
    assert.deepEqual([content, error.code], ['Half', 'upstream_cut']);
    assert.deepEqual(await whole('hi', {model: faulty('broken')}), {error: {message: "Bad Gateway: the site's answer broke off"}, quota_error: false});
  });

  it('a wrong key: no models, and 401 as the 400 that it makes of it', async () => {
    for (const key of ['sk-wrong', '']) {
      await tavern.setKey(key);
      const {error, data} = await tavern.connect(base);
      assert.deepEqual([error, data], [true, {data: []}]);
      const response = await ask('hi', {stream: true});
      assert.deepEqual([response.status, response.statusText], [400, 'Unauthorized']);
      const body = await response.json();
      checkErrorObject(body.error);
      assert.equal(body.error.code, key ? 'invalid_api_key' : 'missing_api_key');
      assert.deepEqual(await whole('hi'), {error: {message: 'Unauthorized'}, quota_error: false});
    }
  });
});

