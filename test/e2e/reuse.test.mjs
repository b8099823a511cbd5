// reuse_conversations: a chat goes on in the conversation that the site holds, through stand-ins that know which conversation is whose.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {afterEach, describe, it} from 'node:test';
import OpenAI from 'openai';
import {ChatGlm, SIGN_SECRET, jwt} from '../sites/chatglm.mjs';
import {ClaudeWeb, key} from '../sites/claude_web.mjs';
import {Kimi, answers, envelope} from '../sites/kimi.mjs';
import {Qwen, jwt as qwenToken} from '../sites/qwen.mjs';
import {within} from '../sites/site.mjs';
import {Gateway, run, startGateway} from './lib/gateway.mjs';

const user = (content) => ({role: 'user', content});
const PICTURES = ['2mNk+M9Q', 'WgAAAABJ'].map((text) => `data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4${text}`);
const KEYS = [{name: 'anna', key: 'sk-anna-0123456789'}, {name: 'bert', key: 'sk-bert-0123456789'}];

describe('reuse_conversations', {timeout: 60000}, () => {
  it('is refused where no site holds conversations', async () => {
    const gateway = new Gateway({sites: [{name: 'o', adapter: 'openai', base_url: 'http://127.0.0.1:1/v1', reuse_conversations: true, accounts: [{name: 'a', api_key: 'k'}]}]});
    gateway.write(gateway.config);
    const {code, stderr} = await run(['check', '-c', gateway.file]);
    assert.notEqual(code, 0);
    assert.match(stderr, /"reuse_conversations" in \[\[sites\]\] needs an adapter that can go on in a conversation of its site; openai cannot/);
  });
});

describe('an answer that we cut', {timeout: 60000}, () => {
  it('is not gone on with, even when the site has said all of it in one piece', async () => {
    const site = await sites.kimi.start();
    const gateway = await startGateway({sites: [config(sites.kimi, site)]});
    const client = new OpenAI({apiKey: 'any', baseURL: gateway.base, maxRetries: 0});
    const deleted = once(site, 'deleted');
    site.next(function plan(r, res, text) {
      this.streamHead(res);
      this.chats.set('19b7-1', {text, deleted: false});
      const begun = [{chat: {id: '19b7-1'}}, {message: {id: 'm-asst', role: 'assistant'}}];
      res.end(Buffer.concat([...begun, ...answers.plain].map((value) => envelope(value)))); // in one record
    });
    const answer = await client.chat.completions.create({model: sites.kimi.model, messages: [user('one')], stop: ['world']});
    assert.equal(answer.choices[0].message.content, '你好, ');
    await within(5000, deleted, 'the removal');
    await gateway.stop();
    await site.stop();
    assert.deepEqual(site.violations, []);
  });
});

const tokens = ['a', 'b'].map(() => jwt('refresh'));
const qwenTokens = ['a', 'b'].map((id) => qwenToken(id));
const blocks = (r) => r.json.message.blocks;

/** How each stand-in is configured with an account or two, what a request told it, and how it refuses the first account. */
const sites = {
  chatglm: {
    model: 'site/glm-5.3',
    start() {
      const site = new ChatGlm({refreshTokens: tokens});
      site.refresh.get(tokens[1]).uid = 'u2';
      return site.start();
    },
    config: (site, more) => ({name: 'site', adapter: 'chatglm', ...site.config({options: {sign_secret: SIGN_SECRET}, ...more})}),
    accounts: tokens.map((refresh_token) => ({refresh_token})),
    told: (r) => [r.json.conversation_id !== '', r.json.messages[0].content[0].text],
    files: (r) => r.json.messages[0].content.slice(1).flatMap((item) => item.image),
    held: (site) => [...site.conversations.values()],
    expel(site) {
      site.access.clear();
      site.refresh.delete(site.last.refresh);
    },
    whole: (history) => `${history.map(({role, content}) => `<|${role}|>\n${content}`).join('\n')}\n<|assistant|>\n`,
  },
  kimi: {
    model: 'site/kimi-k2.6',
    start: () => new Kimi({refreshTokens: ['cpmt_0', 'cpmt_b']}).start(),
    config: (site, more) => ({name: 'site', adapter: 'kimi', ...site.config({options: {auth_url: site.auth.origin}, ...more})}),
    accounts: ['cpmt_0', 'cpmt_b'].map((refresh_token) => ({refresh_token})),
    told: (r) => ['chat_id' in r.json, blocks(r)[0].text.content],
    files: (r) => blocks(r).slice(1),
    held: (site) => [...site.chats.values()],
    expel(site) {
      site.access.clear();
      site.refreshTokens = new Set(['cpmt_b']);
    },
    whole: (history) => history.map(({role, content}) => `${role}:${content}`).join('\n'),
  },
  qwen: {
    model: 'site/qwen3.6-plus',
    start: () => new Qwen({tokens: qwenTokens}).start(),
    config: (site, more) => ({name: 'site', adapter: 'qwen', ...site.config(more)}),
    accounts: qwenTokens.map((token) => ({token})),
    told: (r) => [r.json.parent_id !== null, r.json.messages[0].content],
    files: (r) => r.json.messages[0].files,
    held: (site) => [...site.chats.values()],
    expel: (site) => site.tokens.delete(qwenTokens[0]),
    whole: (history) => `${history.map(({role, content}) => `${role[0].toUpperCase()}${role.slice(1)}: ${content}`).join('\n\n')}\n\nAssistant:`,
  },
  claude_web: {
    model: 'site/claude-sonnet-5',
    start: () => new ClaudeWeb({keys: ['a', 'b'].map(key), temporary: false}).start(),
    config: (site, more) => ({name: 'site', adapter: 'claude_web', ...site.config(more)}),
    accounts: ['a', 'b'].map((name) => ({session_key: key(name)})),
    told: (r) => ['parent_message_uuid' in r.json, r.json.prompt],
    files: (r) => r.json.files,
    held: (site) => [...site.conversations.values()],
    expel: (site) => site.sessions.delete(key('a')),
    whole: (history) => `${history.map(({role, content}) => `${role === 'user' ? 'Human' : 'Assistant'}: ${content}`).join('\n\n')}\n\nAssistant:`,
  },
};

/** [[sites]] for a stand-in of that kind, with its first `n` accounts. */
const config = (kind, site, more, n = 1) =>
  ({...kind.config(site, {reuse_conversations: true, ...more}), accounts: kind.accounts.slice(0, n).map((account, i) => ({name: `account-${i}`, ...account}))});

for (const [name, kind] of Object.entries(sites)) {
  describe(`conversations that ${name} holds`, {timeout: 120000}, () => {
    const running = [];
    afterEach(async () => {
      const done = running.splice(0).reverse();
      for (const thing of done) await thing.stop();
      for (const {violations} of done) assert.deepEqual(violations ?? [], []);
    });
    const serve = async ({keys = [], accounts = 1, ...more} = {}) => {
      const site = await kind.start();
      running.push(site);
      const gateway = await startGateway({keys, sites: [config(kind, site, more, accounts)]});
      running.push(gateway);
      return {site, gateway};
    };
    const client = (gateway, apiKey = 'any') => new OpenAI({apiKey, baseURL: gateway.base, maxRetries: 0});
    /** One turn; the history with its answer. */
    const turn = async (gateway, history, {apiKey, ...body} = {}) => {
      const answer = await client(gateway, apiKey).chat.completions.create({model: kind.model, messages: history, ...body});
      if (!body.stream) return [...history, {role: 'assistant', content: answer.choices[0].message.content}];
      let content = '';
      for await (const chunk of answer) content += chunk.choices[0]?.delta.content ?? '';
      return [...history, {role: 'assistant', content}];
    };
    const told = (site) => site.chatRequests().map(kind.told);

    for (const stream of [true, false]) {
      it(`the second turn ${stream ? 'of a stream ' : ''}sends only what is new`, async () => {
        const {site, gateway} = await serve();
        let history = await turn(gateway, [{role: 'system', content: 'Be brief.'}, user('one')], {stream});
        history = await turn(gateway, [...history, user('two')], {stream});
        assert.equal(history.at(-1).content, '你好, world 🌍');
        await turn(gateway, [...history, user('three')], {stream});
        assert.deepEqual(told(site).slice(1), [[true, 'two'], [true, 'three']]);
        assert.deepEqual([told(site)[0][0], kind.held(site).length, kind.held(site)[0].deleted], [false, 1, false]);
      });
    }

    it('clients may trim the answer', async () => {
      const {site, gateway} = await serve();
      const history = await turn(gateway, [user('one')]);
      history[1].content = `\n${history[1].content} \n`;
      await turn(gateway, [...history, user('two')]);
      assert.deepEqual(told(site)[1], [true, 'two']);
    });

    it('an edit, and the wish for another answer, begin anew', async () => {
      const {site, gateway} = await serve();
      const first = await turn(gateway, [user('one')]);
      const second = [...first, user('two')];
      await turn(gateway, second);
      await turn(gateway, second); // again: what came after `first` stands in the conversation already
      await turn(gateway, [user('ONE'), first[1], user('two')]);
      await turn(gateway, [first[0], {...first[1], content: 'Something else.'}, user('two')]);
      assert.deepEqual(told(site).map(([goesOn]) => goesOn), [false, true, false, false, false]);
      assert.equal(told(site)[2][1], kind.whole(second));
    });

    it('a site that forgot the conversation is told everything, and the client sees nothing of it', async () => {
      const {site, gateway} = await serve();
      for (const forgets of ['silently', 'loudly']) {
        site.forgets = forgets;
        const history = await turn(gateway, [user(forgets)]);
        for (const held of kind.held(site)) held.forgotten = true;
        const from = told(site).length;
        const after = await turn(gateway, [...history, user('two')], {stream: true});
        assert.equal(after.at(-1).content, history.at(-1).content);
        assert.deepEqual(told(site).slice(from), [[true, 'two'], [false, kind.whole([...history, user('two')])]]);
        await turn(gateway, [...after, user('three')]); // and goes on in the new one
        assert.deepEqual(told(site).at(-1), [true, 'three']);
      }
    });

    it('a restart of the gateway does not matter', async () => {
      const {site, gateway} = await serve();
      const history = await turn(gateway, [user('one')]);
      gateway.signal('SIGTERM');
      assert.equal(await gateway.exit(), 0);
      gateway.stdout = '';
      await gateway.start();
      await turn(gateway, [...history, user('two')]);
      assert.deepEqual(told(site)[1], [true, 'two']);
    });

    it('another key never goes on in somebody else\'s conversation', async () => {
      const {site, gateway} = await serve({keys: KEYS});
      const history = await turn(gateway, [user('one')], {apiKey: KEYS[0].key});
      await turn(gateway, [...history, user('two')], {apiKey: KEYS[1].key});
      await turn(gateway, [...history, user('two')], {apiKey: KEYS[0].key});
      assert.deepEqual(told(site).map(([goesOn]) => goesOn), [false, false, true]);
    });

    it('another account gets the whole history when the holder\'s credential is refused', async () => {
      const {site, gateway} = await serve({accounts: 2, strategy: 'fill_first'});
      const history = [...await turn(gateway, [user('one')]), user('two')];
      kind.expel(site);
      await turn(gateway, history);
      assert.deepEqual(told(site).at(-1), [false, kind.whole(history)]);
    });

    it('pictures are sent once', async () => {
      const {site, gateway} = await serve();
      const see = (text, n) => user([{type: 'text', text}, {type: 'image_url', image_url: {url: PICTURES[n]}}]);
      const history = await turn(gateway, [see('one', 0)]);
      await turn(gateway, [...history, see('two', 1)]);
      await turn(gateway, [see('one', 1), history[1], see('two', 1)]); // another picture: an edit
      assert.deepEqual(site.chatRequests().map((r) => [kind.told(r)[0], kind.files(r).length]), [[false, 1], [true, 1], [false, 2]]);
      assert.equal(site.files.size, 3); // the second one was there already when it was sent again, and is told by its name
    });

    it('of turns that go on from the same answer at once, one goes on', async () => {
      const {site, gateway} = await serve({max_concurrent: 2, queue_timeout: '20s'});
      const history = await turn(gateway, [user('one')]);
      site.chatRequests();
      await Promise.all(['two', 'three'].map((text) => turn(gateway, [...history, user(text)]).catch(() => {})));
      assert.equal(told(site).filter(([goesOn]) => goesOn).length, 1);
    });

    it('a turn that fails on its way is told, its conversation removed, and the next begins anew', async () => {
      const {site, gateway} = await serve();
      const history = await turn(gateway, [user('one')]);
      const deleted = once(site, 'deleted');
      site.next('lateError');
      await assert.rejects(turn(gateway, [...history, user('two')], {stream: true}));
      await within(5000, deleted, 'the removal');
      await turn(gateway, [...history, user('two')]);
      assert.deepEqual(told(site).map(([goesOn]) => goesOn), [false, true, false]);
    });

    it('an answer that we cut is not gone on with, and its conversation is removed', async () => {
      const {site, gateway} = await serve();
      const deleted = once(site, 'deleted');
      const history = await turn(gateway, [user('one')], {stop: ['world']});
      await within(5000, deleted, 'the removal');
      await turn(gateway, [...history, user('two')]);
      assert.equal(told(site)[1][0], false);
    });

    it('without the option nothing is kept', async () => {
      const {site, gateway} = await serve({reuse_conversations: false});
      const deleted = once(site, 'deleted');
      const history = await turn(gateway, [user('one')]);
      await within(5000, deleted, 'the removal');
      await turn(gateway, [...history, user('two')]);
      assert.deepEqual(told(site)[1], [false, kind.whole([...history, user('two')])]);
    });
  });
}

describe('temporary conversations of claude_web', {timeout: 60000}, () => {
  it('are gone on with, and left to the site', async () => {
    const kind = sites.claude_web;
    const site = await new ClaudeWeb({keys: [key('a')]}).start();
    const gateway = await startGateway({sites: [config(kind, site)]});
    const client = new OpenAI({apiKey: 'any', baseURL: gateway.base, maxRetries: 0});
    const history = [user('one')];
    for (const next of ['two', 'three']) {
      const answer = await client.chat.completions.create({model: kind.model, messages: history});
      history.push({role: 'assistant', content: answer.choices[0].message.content}, user(next));
    }
    await gateway.stop();
    await site.stop();
    assert.deepEqual(site.chatRequests().map(kind.told), [[false, 'one'], [true, 'two']]);
    assert.deepEqual(kind.held(site).map((c) => [c.is_temporary, c.deleted]), [[true, false]]);
    assert.deepEqual(site.violations, []);
  });
});
