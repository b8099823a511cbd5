// Stand-in for claude.ai. It checks each request against the dossier, field for field, and answers 418 to anything else.
import {randomUUID} from 'node:crypto';
import {Site, isUuid} from './site.mjs';

export const ORG = '11111111-2222-4333-8444-555555555555';
export const key = (name) => `sk-ant-sid01-${name}-0123456789`;

export const block = (index, type, more = {}) => ({type: 'content_block_start', index, content_block: {type, ...more}});
export const say = (text, index = 0) => ({type: 'content_block_delta', index, delta: {type: 'text_delta', text}});
export const think = (thinking, index = 0) => ({type: 'content_block_delta', index, delta: {type: 'thinking_delta', thinking}});
export const blockEnd = (index) => ({type: 'content_block_stop', index});
export const reason = (stop_reason) => ({type: 'message_delta', delta: {stop_reason, stop_sequence: null}});
export const limit = (message_limit) => ({type: 'message_limit', message_limit});
export const stop = {type: 'message_stop'};
export const fine = limit({type: 'within_limit', resetsAt: null});
const begin = {type: 'message_start', message: {id: 'x', type: 'message', role: 'assistant', model: '', content: [], stop_reason: null}, discarded_parent_message_uuid: null};

export const siteError = (type, message, details = null) => ({type: 'error', error: {type, message, details}, request_id: 'req_x'});

export const answers = {
  plain: [begin, block(0, 'text'), say('你好'), {type: 'ping'}, say(', world 🌍'), blockEnd(0), reason('end_turn'), fine, stop],
  reasoning: [begin, block(0, 'thinking'), think('First I add. '), think('Then I check.'), blockEnd(0), block(1, 'text'), say('4.', 1), blockEnd(1),
    reason('end_turn'), fine, stop],
  lateError: [begin, block(0, 'text'), say('Half an'), say(' answer'), {type: 'error', error: {type: 'overloaded_error', message: 'Overloaded'}}],
  earlyError: [begin, {type: 'error', error: {type: 'overloaded_error', message: 'Overloaded'}}],
  cut: [begin, block(0, 'text'), say('Half'), reason('end_turn')],
  empty: [begin, reason('end_turn'), fine, stop],
  refusal: [begin, reason('refusal'), fine, stop],
};

export class ClaudeWeb extends Site {
  /** keys: session keys that are accepted. temporary: whether the plan has incognito chats ('refused': says so; false: makes lasting ones). */
  constructor({keys = [key('one')], temporary = true, organizations, ...rest} = {}) {
    super(rest);
    this.ownHeaders = ['cookie'];
    this.temporary = temporary;
    this.sessions = new Set(keys);
    this.jar = {};             // cookies that the site gave out, and wants to see again: name -> value
    this.rotations = [];       // session keys to hand out, one an answer
    this.owners = new Map();   // session key handed out -> the first key of the same person
    this.conversations = new Map(); // uuid -> {…, deleted, forgotten, last: uuid of its last answer}
    this.forgets = 'loudly';   // what a request into a forgotten one gets; 'silently': an answer that does not go on behind the last one
    this.files = new Map();
    this.early = {};           // answers of the steps before the stream: 'organizations', 'create', 'upload' -> plans
    this.organizations = organizations ?? [
      {uuid: 'aaaaaaaa-2222-4333-8444-555555555555', name: 'console', capabilities: ['api', 'a', 'b', 'c'], active_flags: []},
      {uuid: 'bbbbbbbb-2222-4333-8444-555555555555', name: 'free', capabilities: ['chat'], active_flags: []},
      {uuid: ORG, name: 'paid', capabilities: ['chat', 'claude_pro'], active_flags: [], rate_limit_tier: 'x'}];
    this.models = [{model: 'claude-sonnet-5', name: 'Sonnet'}, {model: 'claude-haiku-4-5-20251001', name: 'Haiku'},
      {model: 'brand-new', name: 'New', thinking_modes: [{id: 'off'}, {id: 'extended'}]}, {model: 'old-one', inactive: true}];
  }

  chatRequests() {
    return this.requests.filter((r) => r.path.endsWith('/completion'));
  }

  async handle(r, res) {
    const [, organization, rest] = /^\/api\/organizations\/([^/]+)(\/.+)$/.exec(r.path) ?? [];
    const [, conversation, action] = /^\/chat_conversations\/([^/]+)(?:\/(\w+))?$/.exec(rest ?? '') ?? [];
    const wiggle = /^\/conversations\/([^/]+)\/wiggle\/upload-file$/.exec(rest ?? '');
    this.headers(r);
    if (!this.signedIn(r, res)) return;
    if (organization) this.same('organization', organization, ORG);
    if (r.method === 'GET' && r.path === '/api/organizations') return this.early.organizations?.length ? this.play(r, res, this.early.organizations.shift()) : this.send(res, 200, this.organizations, r);
    if (r.method === 'GET' && r.path === `/api/bootstrap/${ORG}/app_start`) return this.bootstrap(r, res);
    if (r.method === 'POST' && rest === '/chat_conversations') return this.create(r, res);
    if (r.method === 'POST' && r.path === `/api/${ORG}/upload`) return this.upload(r, res, false);
    if (r.method === 'POST' && wiggle) return this.upload(r, res, this.conversation(wiggle[1]));
    if (r.method === 'POST' && action === 'completion') return this.completion(r, res, this.conversation(conversation));
    if (r.method === 'POST' && action === 'stop_response') return this.stopResponse(r, res, this.conversation(conversation));
    if (r.method === 'DELETE' && conversation && !action) return this.delete(r, res, this.conversation(conversation));
    this.fail('the site has no such path');
  }

  headers(r) {
    const h = r.headers;
    this.same('Origin', h.origin, this.origin);
    this.same('Referer', h.referer, `${this.origin}/new`);
    const type = r.path.includes('upload') ? 'multipart/form-data; boundary=' : r.body.length ? 'application/json' : undefined;
    if (type) this.check((h['content-type'] ?? '').startsWith(type), `Content-Type ${h['content-type']}`);
    else this.check(!('content-type' in h), 'a Content-Type without a body');
    this.check(!('authorization' in h), 'an Authorization');
  }

  /** The cookies: the session key, and all that the site gave out. */
  signedIn(r, res) {
    const cookies = Object.fromEntries((r.headers.cookie ?? '').split('; ').map((pair) => pair.split(/=(.*)/s).slice(0, 2)));
    for (const [name, value] of Object.entries(this.jar)) this.same(`cookie ${name}`, cookies[name], value);
    this.check(cookies.sessionKey, 'no cookie sessionKey');
    r.key = cookies.sessionKey;
    r.owner = this.owners.get(r.key) ?? r.key;
    if (this.sessions.has(cookies.sessionKey)) return true;
    this.json(res, 403, siteError('permission_error', 'Invalid authorization', {error_code: 'account_session_invalid'}));
    return false;
  }

  /** An answer with the cookies that are due. */
  cookies(r) {
    const next = this.rotations.shift();
    if (!next) return {};
    this.sessions.add(next);
    this.owners.set(next, r.owner);
    this.jar = {sessionKey: next, seen: 'yes'};
    return {'set-cookie': [`sessionKey=${next}; Path=/; Secure; HttpOnly; Max-Age=2419200`, 'seen=yes; Path=/']};
  }

  send(res, status, value, r) {
    return this.json(res, status, value, this.cookies(r));
  }

  conversation(id) {
    const found = this.conversations.get(id);
    this.check(found, `conversation ${id} was never created`);
    this.check(!found.deleted, 'the conversation is deleted already');
    return found;
  }

  bootstrap(r, res) {
    this.same('query', Object.fromEntries(r.query), {statsig_hashing_algorithm: 'djb2', growthbook_format: 'sdk', include_system_prompts: 'false'});
    return this.send(res, 200, {account: {memberships: [{organization: {uuid: 'other', claude_ai_bootstrap_models_config: [{model: 'not-ours'}]}},
      {organization: {uuid: ORG, claude_ai_bootstrap_models_config: this.models}}]}}, r);
  }

  create(r, res) {
    const b = r.json;
    this.check(b, 'no JSON body');
    this.keys('body', b, ['uuid', 'name', 'model', 'is_temporary', 'include_conversation_preferences'], ['paprika_mode']);
    this.check(isUuid(b.uuid), `uuid ${b.uuid}`);
    this.check(!this.conversations.has(b.uuid), 'the uuid was used before');
    this.same('name', b.name, '');
    this.same('include_conversation_preferences', b.include_conversation_preferences, false);
    if ('paprika_mode' in b) this.same('paprika_mode', b.paprika_mode, 'extended');
    if (this.early.create?.length) return this.play(r, res, this.early.create.shift());
    if (b.is_temporary && this.temporary === 'refused') return this.json(res, 403, siteError('permission_error', 'Temporary chats are for paid plans'));
    const made = {uuid: b.uuid, name: '', model: b.model, is_temporary: b.is_temporary && this.temporary === true};
    this.conversations.set(b.uuid, {...made, thinks: 'paprika_mode' in b, owner: r.owner, deleted: false});
    return this.send(res, 201, made, r);
  }

  upload(r, res, conversation) {
    const [, boundary] = /boundary="?([^";]+)"?/.exec(r.headers['content-type']) ?? [];
    const pattern = new RegExp(`^--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="([^"]+)"\r\nContent-Type: ([^\r]+)\r\n\r\n([^]*)\r\n--${boundary}--\r\n$`, 'i');
    const found = pattern.exec(r.body.toString('latin1'));
    this.check(boundary && found, 'no well-formed multipart body with one file');
    this.check(found[1].endsWith(`.${found[2].split('/')[1]}`), `file name ${found[1]} of a ${found[2]}`);
    if (this.early.upload?.length) return this.play(r, res, this.early.upload.shift());
    const file = {file_uuid: randomUUID(), file_name: found[1], file_kind: 'image', size_bytes: found[3].length};
    this.files.set(file.file_uuid, {...file, conversation});
    return this.send(res, 200, conversation ? {success: true, ...file} : file, r);
  }

  completion(r, res, conversation) {
    const b = r.json;
    this.check(b, 'no JSON body');
    this.same('Accept', r.headers.accept, 'text/event-stream');
    this.keys('body', b, ['prompt', 'model', 'timezone', 'rendering_mode', 'attachments', 'files', 'thinking_mode'],
      ['locale', 'sync_sources', 'tools', 'effort', 'max_tokens_to_sample', 'parent_message_uuid']);
    this.same('owner', r.owner, conversation.owner);
    this.same('parent_message_uuid', b.parent_message_uuid, conversation.last);
    this.same('fixed fields', [b.timezone, b.rendering_mode, b.locale, b.sync_sources], ['UTC', 'messages', 'en-US', []]);
    this.same('model', b.model, conversation.model);
    this.same('thinking here and in the conversation', b.thinking_mode !== 'off', conversation.thinks);
    this.check(['off', 'auto', 'extended'].includes(b.thinking_mode), `thinking_mode ${b.thinking_mode}`);
    this.same('effort', ['low', 'medium', 'high', 'max'].includes(b.effort), b.thinking_mode !== 'off');
    if ('tools' in b) this.same('tools', b.tools, [{type: 'web_search_v0', name: 'web_search'}]);
    if ('max_tokens_to_sample' in b) this.check(Number.isInteger(b.max_tokens_to_sample), 'max_tokens_to_sample');
    this.check(typeof b.prompt === 'string' && (b.prompt || b.attachments.length), 'an empty prompt without attachments');
    for (const a of b.attachments) {
      this.keys('attachment', a, ['file_name', 'file_type', 'file_size', 'extracted_content'], ['origin', 'kind']);
      this.same('file_size', a.file_size, Buffer.byteLength(a.extracted_content));
    }
    for (const id of b.files) {
      const file = this.files.get(id);
      this.check(file, `file ${id} was never uploaded`);
      if (file.conversation) this.check(file.conversation === conversation, "another conversation's file");
    }
    if (conversation.forgotten && this.forgets === 'loudly') return this.json(res, 404, siteError('not_found_error', 'Conversation not found'));
    return this.play(r, res, this.plans.shift() ?? 'plain', conversation);
  }

  stopResponse(r, res, conversation) {
    this.same('body', r.json, {});
    conversation.stopped = true;
    this.send(res, 200, {}, r);
    this.emit('stopped', conversation);
  }

  delete(r, res, conversation) {
    this.check(!conversation.is_temporary, 'a temporary chat is deleted');
    this.same('owner', r.owner, conversation.owner);
    conversation.deleted = true;
    res.writeHead(204).end();
    this.emit('deleted', conversation);
  }

  event(res, value) {
    return res.write(`event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`);
  }

  /** The first event with what the site calls this answer: the next message must name it. */
  message(value, conversation) {
    if (value.type !== 'message_start' || !conversation) return value;
    const discarded = conversation.forgotten ? conversation.last : null;
    conversation.last = randomUUID();
    return {...value, message: {...value.message, uuid: conversation.last, parent_uuid: randomUUID()}, discarded_parent_message_uuid: discarded};
  }

  /** A plan is a name in `answers`, a list of events, {status, json, html, text, headers}, or a function. */
  play(r, res, plan, conversation) {
    if (typeof plan === 'function') return plan.call(this, r, res);
    if (typeof plan === 'object' && !Array.isArray(plan)) {
      if (plan.json) return this.json(res, plan.status, plan.json, plan.headers);
      res.writeHead(plan.status ?? 200, {...(plan.html ? {'content-type': 'text/html; charset=utf-8'} : {}), ...plan.headers});
      return res.end(plan.html ?? plan.text);
    }
    this.sseHead(res, this.cookies(r));
    res.write(': ping - 2026-08-01 10:00:00\n\n');
    for (const event of Array.isArray(plan) ? plan : answers[plan]) this.event(res, this.message(event, conversation));
    return res.end();
  }
}
