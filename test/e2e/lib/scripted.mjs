// Web sites that know no tools, with a scripted model behind each: a function that reads the prompt as the site got it, and writes
// its answer as text.
import {OpenAiSite} from '../../sites/openai.mjs';
import * as chatglm from '../../sites/chatglm.mjs';
import * as claude from '../../sites/claude_web.mjs';
import * as kimi from '../../sites/kimi.mjs';
import * as qwen from '../../sites/qwen.mjs';
import * as zai from '../../sites/zai.mjs';
import {answerPiece} from './clients.mjs';

const token = zai.jwt('person'), person = qwen.jwt('person'), refresh = chatglm.jwt('refresh');

/** How each site's stand-in is made and configured, which requests are a question, and how it says a text in pieces. */
const KINDS = {
  zai: {
    make: () => new zai.Zai({tokens: [token]}), answers: zai.answers, model: 'glm-4.7', asks: /\/chat\/completions$/, accounts: [{name: 'me', token}],
    events: (pieces) => [...pieces.map((p) => zai.say(p)), zai.done],
  },
  chatglm: {
    make: () => new chatglm.ChatGlm({refreshTokens: [refresh]}), answers: chatglm.answers, model: 'glm-5.3', asks: /\/assistant\/stream$/,
    accounts: [{name: 'me', refresh_token: refresh}], options: {sign_secret: chatglm.SIGN_SECRET},
    events: (pieces) => [chatglm.event('init'), ...chatglm.say('a', 'text', ...pieces), chatglm.finish],
  },
  kimi: {
    make: () => new kimi.Kimi(), answers: kimi.answers, model: 'kimi-k2.6', asks: /ChatService\/Chat$/, accounts: [{name: 'me', refresh_token: 'cpmt_0'}],
    options: (site) => ({auth_url: site.auth.origin}),
    events: ([first = '', ...pieces]) => [kimi.heartbeat, kimi.say(first, {op: 'set'}), ...pieces.map((p) => kimi.say(p)), ...kimi.answers.plain.slice(-2)],
  },
  qwen: {
    make: () => new qwen.Qwen({tokens: [person]}), answers: qwen.answers, model: 'qwen3.6-plus', asks: /\/chat\/completions$/, accounts: [{name: 'me', token: person}],
    events: (pieces) => [...pieces.map((p) => qwen.say(p)), qwen.done],
  },
  claude_web: {
    make: () => new claude.ClaudeWeb(), answers: claude.answers, model: 'claude-sonnet-5', asks: /\/completion$/, accounts: [{name: 'me', session_key: claude.key('one')}],
    events: (pieces) => [claude.answers.plain[0], claude.block(0, 'text'), ...pieces.map((p) => claude.say(p)), claude.blockEnd(0), claude.reason('end_turn'), claude.fine, claude.stop],
  },
};

export const KIND_NAMES = Object.keys(KINDS);

/** All strings of a JSON value, as one text: what the model reads, without the site's way of writing it down. */
const textOf = (value) => (typeof value === 'string' ? `${value}\n` : value && typeof value === 'object' ? Object.values(value).map(textOf).join('') : '');

/** What was asked; kimi's is in an envelope. */
const promptOf = (r) => textOf(JSON.parse(r.json ? JSON.stringify(r.json) : r.body.subarray(5).toString()));

const cut = (text, n) => text.match(new RegExp(`[^]{1,${n}}`, 'gu')) ?? [];

/**
 * {site, entry, model, prompts}: `entry` is for [[sites]]. `model(prompt, n)` is the n-th answer: a text, or {events} in the site's words.
 * What was read is in `prompts`.
 */
export async function startScripted(kind, model, {piece = 5, ...more} = {}) {
  const k = KINDS[kind], site = await k.make().start(), prompts = [];
  site.on('request', (r) => {
    if (!k.asks.test(r.path)) return;
    prompts.push(promptOf(r));
    const answer = model(prompts.at(-1), prompts.length - 1);
    const name = `scripted ${kind} ${site.port} ${prompts.length}`;
    k.answers[name] = answer.events ?? k.events(cut(answer, piece));
    site.next(name);
  });
  const options = typeof k.options === 'function' ? k.options(site) : k.options;
  return {site, prompts, model: `${kind}/${k.model}`, events: k.events, entry: {name: kind, adapter: kind, ...site.config({...(options ? {options} : {}), ...more}), accounts: k.accounts}};
}

/** The same of an OpenAI-compatible service whose models know no tools. `model` may say why it ends: {text, finish}. */
export async function startScriptedService(model, {piece = 5, ...more} = {}) {
  const site = await new OpenAiSite().start(), prompts = [], bodies = [];
  site.on('request', (r) => {
    if (!r.path.endsWith('/chat/completions')) return;
    prompts.push(promptOf(r));
    bodies.push(r.json);
    const answer = model(prompts.at(-1), prompts.length - 1), texts = [answer].flat().map((a) => a.text ?? a), finish = answer.finish ?? 'stop';
    site.next(function (request, res) {
      if (!request.json.stream) {
        return this.json(res, 200, {id: 'x', object: 'chat.completion', created: 1, model: 'm',
          choices: texts.map((content, index) => ({index, message: {role: 'assistant', content}, finish_reason: finish}))});
      }
      this.sseHead(res);
      texts.forEach((text, index) => {
        const say = (delta, reason = null) => this.event(res, {...answerPiece(delta, reason), choices: [{index, delta, finish_reason: reason}]});
        for (const content of cut(text, piece)) say({content});
        if (finish !== 'cut') say({}, finish);
      });
      if (finish === 'cut') return res.write(': the end\n\n', () => res.destroy());
      res.end('data: [DONE]\n\n');
    });
  });
  return {site, prompts, bodies, model: 'up/gpt-test', entry: {name: 'up', adapter: 'openai', tools: 'emulate', ...site.config({...more}), base_url: `${site.origin}/v1`, accounts: [{name: 'me', api_key: 'sk-upstream'}]}};
}
