// Whole answers from truncated ones (docs/continue.md): an OpenAI-compatible service and chat.z.ai that break off, meet their own
// limit, start over or fail, and what the client gets.
import assert from 'node:assert/strict';
import {after, afterEach, before, describe, it} from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import {OpenAiSite} from '../sites/openai.mjs';
import {Site, within} from '../sites/site.mjs';
import {Zai, done, jwt, say, siteError, usage} from '../sites/zai.mjs';
import {answerPiece} from './lib/clients.mjs';
import {startGateway} from './lib/gateway.mjs';
import {chat, checkBrokenStream, checkError, checkStream, user} from './lib/http.mjs';

const pieces = (text) => text.match(/[^]{1,7}/gu) ?? [];
const counts = (prompt, completion) => ({id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [],
  usage: {prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion}});

/** An answer of the service: text (or {thoughts, text}), then its finish reason; 'cut' breaks the connection, 'garbage' sends no JSON. */
function says(said, end = 'stop', {tokens = [10, 20], delta} = {}) {
  const {thoughts = '', text = ''} = typeof said === 'string' ? {text: said} : said;
  return function (r, res) {
    this.check(r.json.stream, 'not streamed');
    this.sseHead(res);
    for (const piece of pieces(thoughts)) this.event(res, answerPiece({reasoning_content: piece}));
    for (const piece of pieces(text)) this.event(res, {...answerPiece({content: piece}), system_fingerprint: 'fp_1'});
    if (delta) this.event(res, answerPiece(delta));
    if (end === 'cut') return res.write(': the end\n\n', () => r.socket.destroy());
    if (end === 'garbage') return res.end('data: {"choices": [\n\n');
    this.event(res, answerPiece({}, end));
    if (tokens) this.event(res, counts(...tokens));
    this.event(res, '[DONE]');
    res.end();
  };
}

describe('an OpenAI-compatible service whose answers are truncated', {timeout: 180000, concurrency: false}, () => {
  let site, gateway, client;
  before(async () => {
    site = await new OpenAiSite().start();
    const up = site.config({adapter: 'openai', base_url: `${site.origin}/v1`, models: ['m'], accounts: [{name: 'a', api_key: 'sk-upstream'}]});
    gateway = await startGateway({
      sites: [{name: 'on', ...up, continue_truncated: true}, {name: 'off', ...up}, {name: 'once', ...up, continue_truncated: true, continue_max: 1},
        {name: 'cuts', ...up, continue_truncated: true, continue_causes: ['cut']}, {name: 'late', ...up, continue_truncated: true, continue_total: '1ms'},
        {name: 'drop', ...up, continue_truncated: true, reasoning: 'drop'}, {name: 'limited', ...up, continue_truncated: true},
        {name: 'narrow', ...up, continue_truncated: true, max_concurrent: 1}],
      models: [{id: 'long', targets: ['off/m'], continue_truncated: true}, {id: 'short', targets: ['on/m'], continue_truncated: false},
        {id: 'one', targets: [{target: 'off/m', continue_truncated: true}]}],
    });
    client = new OpenAI({apiKey: 'none', baseURL: gateway.base, maxRetries: 0});
  });
  after(async () => {
    await gateway?.stop();
    await site?.stop();
  });
  afterEach(() => {
    assert.deepEqual(site.violations, []);
    assert.deepEqual(site.plans.splice(0), [], 'answers that nobody asked for');
  });
  const plan = (...plans) => {
    site.requests.length = 0;
    site.next(...plans);
  };
  const asked = () => site.chatRequests().map((r) => r.json);
  const stream = async (body = {}) => (await chat(gateway.base, {model: 'on/m', stream: true, ...user('tell'), ...body})).text();
  const streamed = async (body, options) => checkStream(await stream(body), options);
  const remark = (answer) => answer.chunks.findLast((c) => c.choices.length).dragoman_continued;

  it('cut in a sentence: goes on, says so, and adds up the tokens', async () => {
    plan(says('The quick brown fox jumps', 'cut'), says('brown fox jumps over the dog.'));
    const from = gateway.stderr.length;
    const answer = await streamed({stream_options: {include_usage: true}, x_mine: 1}, {usage: true});
    assert.deepEqual([answer.content, answer.finish], ['The quick brown fox jumps over the dog.', 'stop']);
    assert.deepEqual(remark(answer), {times: 1, causes: ['cut']});
    assert.ok(answer.chunks.at(-1).system_fingerprint === 'fp_1', "the site's own members went");
    assert.ok(answer.usage.prompt_tokens > 10 && answer.usage.completion_tokens > 20, JSON.stringify(answer.usage));
    assert.notEqual(answer.usage.dragoman_source, 'upstream');
    const [first, second] = asked();
    assert.deepEqual(second.messages.slice(0, 2), [...first.messages, {role: 'assistant', content: 'The quick brown fox jumps'}]);
    assert.equal(second.messages.length, 3);
    assert.match(second.messages[2].content, /exact character/);
    assert.deepEqual({...second, messages: 0}, {...first, messages: 0});
    await gateway.logged(/continued=1 continue_causes=cut/, {from});
  });

  for (const [what, first, second, whole] of [
    ['a code fence', 'Look:\n```c\nint main(void)\n{\n    retu', '```c\n    return 0;\n}\n```\n', 'Look:\n```c\nint main(void)\n{\n    return 0;\n}\n```\n'],
    ['the text of JSON', '{"items": ["alpha", "be', '"beta"]}', '{"items": ["alpha", "beta"]}'],
    ['Chinese', '晴天的早上，我们出发去山里，路上', '我们出发去山里，路上遇到了雨', '晴天的早上，我们出发去山里，路上遇到了雨'],
    ['a word, and nothing is repeated', 'an unforgettable experi', 'ence', 'an unforgettable experience'],
  ]) {
    it(`cut in ${what}`, async () => {
      plan(says(first, 'cut'), says(second));
      assert.equal((await streamed()).content, whole);
    });
  }

  it("the site's limit, twice; the OpenAI SDK, whole and streamed", async () => {
    const parts = () => [says('one two', 'length'), says(' three four', 'length'), says(' five.', 'stop')];
    plan(...parts());
    const helper = client.chat.completions.stream({model: 'on/m', stream_options: {include_usage: true}, ...user('count')});
    const final = await helper.finalChatCompletion();
    assert.deepEqual([final.choices[0].message.content, final.choices[0].finish_reason], ['one two three four five.', 'stop']);
    assert.deepEqual([final.usage.prompt_tokens, final.usage.completion_tokens, final.usage.total_tokens], [30, 60, 90]);
    const from = gateway.stderr.length;
    plan(...['one two', ' three four', ' five.'].map((content, i) => ({status: 200, json: {id: 'w', object: 'chat.completion', created: 1, model: 'm',
      choices: [{index: 0, message: {role: 'assistant', content}, finish_reason: i < 2 ? 'length' : 'stop'}],
      usage: {prompt_tokens: 10, completion_tokens: 20, total_tokens: 30}}})));
    const whole = await client.chat.completions.create({model: 'on/m', ...user('count')});
    assert.deepEqual([whole.choices[0].message.content, whole.choices[0].finish_reason, whole.usage.total_tokens], ['one two three four five.', 'stop', 90]);
    assert.deepEqual(whole.dragoman_continued, {times: 2, causes: ['length', 'length']});
    assert.equal(asked()[2].messages[1].content, 'one two three four');
    await gateway.logged(/continued=2 continue_causes=length,length/, {from});
  });

  it('as often as continue_max says: then a limit is a limit, and a cut is a cut', async () => {
    plan(says('one', 'length'), says(' two', 'length'));
    const limit = await streamed({model: 'once/m'});
    assert.deepEqual([limit.content, limit.finish, remark(limit)], ['one two', 'length', {times: 1, causes: ['length']}]);
    plan(says('one', 'cut'), says(' two', 'cut'));
    const cut = checkBrokenStream(await stream({model: 'once/m'}));
    assert.deepEqual([cut.content, cut.error.code], ['one two', 'upstream_cut']);
  });

  it('something that is no JSON after text', async () => {
    plan(says('First half,', 'garbage'), says(' second half.'));
    const answer = await streamed();
    assert.deepEqual([answer.content, remark(answer)], ['First half, second half.', {times: 1, causes: ['malformed']}]);
  });

  it('thoughts and no text: asked once more, as it was', async () => {
    plan(says({thoughts: 'Let me think.'}), says({thoughts: 'Again.', text: 'Four.'}));
    const answer = await streamed();
    assert.deepEqual([answer.reasoning, answer.content, answer.finish, remark(answer)], ['Let me think.', 'Four.', 'stop', {times: 1, causes: ['empty']}]);
    assert.deepEqual(asked()[1], asked()[0]);
    plan(says({thoughts: 'Let me think.'}), says({thoughts: 'Again.'}));
    const empty = await streamed();
    assert.deepEqual([empty.content, empty.finish, asked().length], ['', 'stop', 2]);
  });

  it('thoughts, and what leaks of them, are not told again', async () => {
    plan(says({thoughts: 'Hm.', text: 'One, two, '}, 'cut'), says({thoughts: 'Where was I?', text: 'three.'}));
    const answer = await streamed();
    assert.deepEqual([answer.reasoning, answer.content], ['Hm.', 'One, two, three.']);
    plan(says('<think>Hm.</think>One, two, ', 'cut'), says('<think>Where was I?</think>three.'));
    const leaked = await streamed();
    assert.deepEqual([leaked.reasoning, leaked.content], ['Hm.', 'One, two, three.']);
    plan(says({thoughts: 'Hm.', text: 'One, two, '}, 'cut'), says({thoughts: 'Where was I?', text: 'three.'}));
    const dropped = await streamed({model: 'drop/m'});
    assert.deepEqual([dropped.reasoning, dropped.content], ['', 'One, two, three.']);
  });

  it('a site that starts over: the text stands, and the answer ends as it did', async () => {
    const story = 'Once upon a time a fox lived in the wood, and every evening it went down to the river to look at the moon. ';
    const more = 'One day it met a hare that had lost its way. '.repeat(8);
    plan(says(story + more + 'The end is n', 'cut'), says(story + more + 'The end is near.'));
    const cut = checkBrokenStream(await stream());
    assert.deepEqual([cut.content, cut.error.code], [story + more + 'The end is n', 'upstream_cut']);
    plan(says(story + more + 'The end is n', 'length'), says(story + more + 'The end is near.'));
    const limit = await streamed();
    assert.deepEqual([limit.content, limit.finish], [story + more + 'The end is n', 'length']);
  });

  it('nothing new: ends as it did', async () => {
    plan(says('abc', 'cut'), says('abc'));
    assert.equal(checkBrokenStream(await stream()).content, 'abc');
  });

  it('an error instead of a continuation: the first part stands, as cut or as length', async () => {
    const error = {status: 500, json: {error: {message: 'Internal error', type: 'server_error'}}};
    plan(says('Half an', 'cut'), error);
    const cut = checkBrokenStream(await stream());
    assert.deepEqual([cut.content, cut.error.code], ['Half an', 'upstream_cut']);
    plan(says('Half an', 'length'), error);
    const limit = await streamed();
    assert.deepEqual([limit.content, limit.finish], ['Half an', 'length']);
    plan(says('Half an', 'length'), {status: 429, json: {error: {message: 'Rate limit', code: 'rate_limit_exceeded'}}, headers: {'retry-after': '60'}});
    assert.equal((await streamed({model: 'limited/m'})).finish, 'length');
    plan(says('Half an', 'length'), says(' answer, al', 'cut'));
    const once = await streamed({model: 'once/m'});
    assert.deepEqual([once.content, once.finish], ['Half an answer, al', 'length']);
  });

  it('a whole answer that stays truncated: the error, and beside it all that came', async () => {
    plan(says('Half an', 'cut'), says(' answer, al', 'cut'));
    site.plans = site.plans.map((answer) => function (r, res) {
      r.json.stream = true;
      return answer.call(this, r, res);
    });
    const body = await checkError(await chat(gateway.base, {model: 'once/m', ...user('tell')}), {status: 502, type: 'upstream_error', code: 'upstream_cut'});
    assert.equal(body.dragoman_partial.choices[0].message.content, 'Half an answer, al');
  });

  it('a refusal is the answer', async () => {
    plan(says('I was going to', 'content_filter'));
    assert.equal((await streamed()).finish, 'content_filter');
    assert.equal(asked().length, 1);
    plan(says('I was going', 'length'), says(' to', 'content_filter'));
    const answer = await streamed();
    assert.deepEqual([answer.content, answer.finish], ['I was going to', 'content_filter']);
  });

  it("at the client's own limit the answer is as long as was asked for; below it, what is left is asked for", async () => {
    plan(says('one two', 'length', {tokens: [10, 100]}));
    assert.equal((await streamed({max_tokens: 100})).finish, 'length');
    plan(says('one two', 'length', {tokens: null}));
    assert.equal((await streamed({max_completion_tokens: 100})).finish, 'length');
    plan(says('one two', 'length', {tokens: [10, 40]}), says(' three', 'stop'));
    assert.equal((await streamed({max_tokens: 100})).content, 'one two three');
    assert.deepEqual(asked().map((b) => b.max_tokens), [100, 60]);
  });

  it('never with tools, response_format, n, stop, or sound wanted, and never after a call', async () => {
    const tool = {type: 'function', function: {name: 'f', parameters: {type: 'object', properties: {}}}};
    for (const more of [{tools: [tool]}, {response_format: {type: 'json_object'}}, {stop: ['END']}, {modalities: ['text', 'audio']}, {logprobs: true}]) {
      plan(says('Half an', 'cut'));
      assert.equal(checkBrokenStream(await stream(more)).content, 'Half an');
      assert.equal(asked().length, 1, JSON.stringify(more));
    }
    plan(says('Half an', 'length'));
    assert.equal((await streamed({n: 1, tools: [tool]})).finish, 'length');
    plan(says('Half an', 'length', {delta: {tool_calls: [{index: 0, id: 'call_1', type: 'function', function: {name: 'f', arguments: '{}'}}]}}));
    assert.equal((await streamed()).finish, 'length');
    assert.equal(asked().length, 1);
  });

  it('off: the truth is told as ever', async () => {
    // Not at once: a loop's clock may stand still for all of a request.
    const halves = (end) => function later(r, res) {
      setTimeout(() => says('Half an', end).call(this, r, res), 20);
    };
    for (const model of ['off/m', 'short', 'late/m']) {
      plan(halves('cut'));
      assert.equal(checkBrokenStream(await stream({model})).content, 'Half an');
      plan(halves('length'));
      const answer = await streamed({model});
      assert.deepEqual([answer.finish, remark(answer)], ['length', undefined]);
    }
    plan(says('Half an', 'length'));
    assert.equal((await streamed({model: 'cuts/m'})).finish, 'length');
  });

  it('on for one model, or for one target', async () => {
    for (const model of ['long', 'one']) {
      plan(says('Half an', 'cut'), says(' answer'));
      assert.equal((await streamed({model})).content, 'Half an answer');
    }
  });

  it('text completions as well', async () => {
    plan(says('Half an', 'cut'), says(' answer'));
    const text = await (await chat(gateway.base, {model: 'on/m', prompt: 'tell', stream: true}, {path: '/completions'})).text();
    assert.deepEqual([...text.matchAll(/"text":"([^"]*)"/g)].map((m) => m[1]).join(''), 'Half an answer');
    assert.match(text, /\[DONE\]/);
  });

  it('the account is free between the two: others may have it first', async () => {
    let release;
    const held = new Promise((resolve) => (release = resolve));
    plan(says('Half an', 'cut'), async function (r, res) {
      await held;
      return says('other').call(this, r, res);
    }, says(' answer'));
    const from = gateway.stderr.length;
    const first = streamed({model: 'narrow/m'});
    await gateway.logged(/truncated \(cut\) and will be gone on with/, {from});
    const second = streamed({model: 'narrow/m', ...user('another')});
    await site.request((r) => r.json?.messages[0].content === 'another');
    release();
    assert.deepEqual([(await first).content, (await second).content], ['Half an answer', 'other']);
    assert.deepEqual(asked().map((b) => b.messages[0].content), ['tell', 'another', 'tell']);
  });

  it('a client that leaves meanwhile ends it', async () => {
    plan(says('Half an', 'cut'));
    const from = gateway.stderr.length, leave = new AbortController();
    const response = await chat(gateway.base, {model: 'on/m', stream: true, ...user('tell')}, {signal: leave.signal});
    await gateway.logged(/truncated \(cut\) and will be gone on with/, {from});
    const reading = response.text();
    leave.abort();
    await assert.rejects(reading);
    await gateway.logged(/end=cancelled[^\n]*continued=1/, {from});
    plan(says('fine'));
    assert.equal((await streamed()).content, 'fine');
    assert.equal(asked().length, 1);
  });

  it('a client that leaves in the continuation: the site is let go at once', async () => {
    let record;
    const begun = new Promise((resolve) => {
      plan(says('Half an', 'cut'), function (r, res) {
        record = r;
        this.sseHead(res);
        this.event(res, answerPiece({content: ' answer'}));
        resolve();
      });
    });
    const leave = new AbortController();
    const reading = chat(gateway.base, {model: 'on/m', stream: true, ...user('tell')}, {signal: leave.signal}).then((r) => r.text());
    await within(10000, begun, 'the continuation');
    leave.abort();
    await assert.rejects(reading);
    await within(5000, record.aborted, "the end of the site's request");
  });
});

describe('other protocols, in front and behind', {timeout: 60000}, () => {
  let gemini, site, gateway;
  class Gemini extends Site {
    async handle(r, res) {
      this.same('route', `${r.method} ${r.url}`, 'POST /v1beta/models/gemini-x:streamGenerateContent?alt=sse');
      await this.plans.shift().call(this, r, res);
    }
  }
  /** Parts of a candidate, each in an event; without a reason the stream only ends. */
  const tells = (parts, finishReason, tokens = 20) => function (r, res) {
    this.sseHead(res);
    for (const part of parts) this.event(res, {candidates: [{content: {role: 'model', parts: [typeof part === 'string' ? {text: part} : part]}, index: 0}]});
    if (finishReason) this.event(res, {candidates: [{content: {role: 'model', parts: [{text: ''}]}, finishReason, index: 0}], usageMetadata: {promptTokenCount: 10, candidatesTokenCount: tokens, totalTokenCount: 10 + tokens}});
    res.end();
  };
  before(async () => {
    gemini = await new Gemini().start();
    site = await new OpenAiSite().start();
    gateway = await startGateway({sites: [
      {name: 'gemini', adapter: 'gemini', ...gemini.config({continue_truncated: true, models: ['gemini-x']}), accounts: [{name: 'a', api_key: 'k'}]},
      {name: 'on', adapter: 'openai', ...site.config({base_url: `${site.origin}/v1`, continue_truncated: true, models: ['m']}), accounts: [{name: 'a', api_key: 'sk-upstream'}]}]});
  });
  after(async () => {
    await gateway?.stop();
    await gemini?.stop();
    await site?.stop();
  });
  afterEach(() => {
    for (const s of [gemini, site]) {
      assert.deepEqual(s.violations.splice(0), []);
      assert.deepEqual(s.plans.splice(0), []);
      s.requests.length = 0;
    }
  });
  const ask = async (body = {}) => checkStream(await (await chat(gateway.base, {model: 'gemini/gemini-x', stream: true, stream_options: {include_usage: true}, ...user('tell'), ...body})).text(), {usage: true});

  it('gemini: MAX_TOKENS without a limit of the client, then a body that ends without a reason', async () => {
    gemini.next(tells([{text: 'Let me see.', thought: true}, 'One fox, two fo'], 'MAX_TOKENS'), tells([{text: 'On I go.', thought: true}, 'xes, three'], null), tells([' foxes.'], 'STOP'));
    const answer = await ask();
    assert.deepEqual([answer.content, answer.reasoning, answer.finish], ['One fox, two foxes, three foxes.', 'Let me see.', 'stop']);
    assert.deepEqual(answer.chunks.at(-2).dragoman_continued, {times: 2, causes: ['length', 'cut']});
    const [first, , third] = gemini.requests.map((r) => r.json);
    assert.deepEqual(third.contents.slice(0, -1), [...first.contents, {role: 'model', parts: [{text: 'One fox, two foxes, three'}]}]);
    assert.equal(third.contents.at(-1).role, 'user');
  });

  it("gemini: what is left of the client's limit; what it refuses is refused", async () => {
    gemini.next(tells(['One'], null), tells([' two'], 'STOP'));
    assert.equal((await ask({max_tokens: 100})).content, 'One two');
    assert.deepEqual(gemini.requests.map((r) => r.json.generationConfig.maxOutputTokens <= 100), [true, true]);
    assert.ok(gemini.requests[1].json.generationConfig.maxOutputTokens < 100);
    gemini.next(tells(['One'], 'SAFETY'));
    assert.equal((await ask()).finish, 'content_filter');
    gemini.next(tells(['One'], 'MALFORMED_FUNCTION_CALL'), tells([' two'], 'STOP'));
    assert.equal((await ask()).content, 'One two');
    gemini.next(tells([{text: 'Hm.', thought: true}], 'STOP'), tells(['Four.'], 'STOP'));
    assert.equal((await ask()).content, 'Four.');
  });

  it("Anthropic's API in front: one message, from @anthropic-ai/sdk", async () => {
    const client = new Anthropic({apiKey: 'none', baseURL: gateway.origin, maxRetries: 0});
    for (const model of ['on/m', 'gemini/gemini-x']) {
      if (model === 'on/m') site.next(says('The quick brown fox jumps', 'cut'), says('brown fox jumps over the dog.'));
      else gemini.next(tells(['The quick brown fox jumps'], null), tells(['brown fox jumps over the dog.'], 'STOP'));
      const message = await client.messages.stream({model, max_tokens: 1000, messages: [{role: 'user', content: 'tell'}]}).finalMessage();
      assert.deepEqual([message.content.map((b) => b.text), message.stop_reason], [['The quick brown fox jumps over the dog.'], 'end_turn']);
    }
    const [first, second] = site.chatRequests().map((r) => r.json);
    assert.deepEqual([first.messages.length, second.messages.length], [1, 3]);
    assert.ok((second.max_tokens ?? second.max_completion_tokens) < 1000);
  });

  it("OpenAI's responses in front", async () => {
    const client = new OpenAI({apiKey: 'none', baseURL: gateway.base, maxRetries: 0});
    site.next(says('The quick brown fox jumps', 'cut'), says('brown fox jumps over the dog.'));
    const response = await client.responses.stream({model: 'on/m', input: 'tell'}).finalResponse();
    assert.deepEqual([response.output_text, response.status], ['The quick brown fox jumps over the dog.', 'completed']);
    const next = await client.responses.create({model: 'on/m', input: 'and now?', previous_response_id: response.id});
    assert.equal(next.output_text, 'and now?');
    const {messages} = site.chatRequests().at(-1).json;
    assert.deepEqual(messages.map((m) => m.role), ['user', 'assistant', 'user'], 'the wish to go on is in the history');
  });
});

describe('chat.z.ai', {timeout: 60000}, () => {
  it('broke off: a new chat goes on with it, streamed and whole', async () => {
    const site = await new Zai().start();
    const gateway = await startGateway({sites: [{name: 'zai', adapter: 'zai', ...site.config({continue_truncated: true}), accounts: [{name: 'me', token: jwt('person')}]}]});
    try {
      for (const stream of [true, false]) {
        site.next(function (r, res) {
          this.sseHead(res);
          for (const text of ['Die Brü', 'cke über', ' den Fl']) this.event(res, say(text));
          res.write(': the end\n\n', () => r.socket.destroy());
        }, [say('I see.', 'thinking'), say('uß war '), say('alt.'), usage, done]);
        const response = await chat(gateway.base, {model: 'glm-4.6', stream, ...user('tell')});
        const answer = stream ? checkStream(await response.text()) : (await response.json()).choices[0].message;
        assert.deepEqual([answer.content, answer.reasoning ?? answer.reasoning_content ?? ''], ['Die Brücke über den Fluß war alt.', '']);
      }
      assert.equal(site.chatRequests().length, 4);
      site.next([say('Half'), siteError({code: 'INTERNAL_ERROR', detail: 'Oops'})]);
      await checkError(await chat(gateway.base, {model: 'glm-4.6', ...user('tell')}), {status: 502, type: 'upstream_error', code: 'upstream_failed'});
      assert.equal(site.chatRequests().length, 5, 'an error that the site told is gone on with');
      assert.deepEqual(site.violations, []);
    } finally {
      await gateway.stop();
      await site.stop();
    }
  });
});
