// The stream of POST /v1/responses, read by hand and held against clients.md §2.7.
import assert from 'node:assert/strict';

/** POST /responses. */
export function respond(base, body, {headers = {}, signal} = {}) {
  return fetch(`${base}/responses`, {method: 'POST', signal, headers: {'content-type': 'application/json', ...headers}, body: JSON.stringify(body)});
}

/** The events, with the form of each checked: an event line, one data line that repeats the type, numbers from 0, no [DONE]. */
export function events(text) {
  const list = [];
  assert.ok(text.endsWith('\n\n'), `the stream ends inside an event: ${JSON.stringify(text.slice(-80))}`);
  for (const block of text.split('\n\n').slice(0, -1)) {
    if (block.startsWith(':')) continue;
    const [, type, data] = /^event: (\S+)\ndata: (\S.*)$/.exec(block) ?? assert.fail(`not an event of this API: ${JSON.stringify(block)}`);
    const event = JSON.parse(data);
    assert.equal(event.type, type);
    assert.equal(event.sequence_number, list.length);
    list.push(event);
  }
  return list;
}

const required = ['id', 'object', 'created_at', 'error', 'incomplete_details', 'instructions', 'model', 'tools', 'output', 'parallel_tool_calls',
  'metadata', 'tool_choice', 'temperature', 'top_p', 'status', 'usage'];

export function checkResponse(response, status = 'completed') {
  for (const key of required) assert.ok(key in response, `the key ${key} is missing`);
  assert.match(response.id, /^resp_/);
  assert.deepEqual([response.object, response.status, Number.isInteger(response.created_at)], ['response', status, true]);
  if (status === 'completed' || status === 'incomplete') {
    const u = response.usage;
    for (const n of [u.input_tokens, u.input_tokens_details.cached_tokens, u.output_tokens, u.output_tokens_details.reasoning_tokens]) assert.ok(Number.isInteger(n));
    assert.equal(u.total_tokens, u.input_tokens + u.output_tokens);
  }
  return response;
}

/** A whole stream: items begin and end, their pieces make what their ends say, and the last event repeats them. The Response. */
export function checkStream(text, status = 'completed') {
  const list = events(text), items = [];
  assert.deepEqual(list.slice(0, 2).map((e) => [e.type, e.response.status, e.response.output]), [['response.created', 'in_progress', []], ['response.in_progress', 'in_progress', []]]);
  const last = list.at(-1);
  assert.equal(last.type, `response.${status}`);
  for (const e of list.slice(2, -1)) {
    const item = items[e.output_index], at = e.content_index ?? e.summary_index ?? 0;
    if (e.type === 'response.output_item.added') {
      assert.equal(e.output_index, items.length);
      items.push({id: e.item.id, type: e.item.type, parts: [], open: true});
      continue;
    }
    assert.ok(item?.open, `${e.type} about an item that is not open`);
    if (e.type === 'response.output_item.done') {
      Object.assign(item, {open: false, done: e.item});
      continue;
    }
    assert.equal(e.item_id, item.id);
    item.parts[at] ??= '';
    if (/part\.added$/.test(e.type)) item.parts[at] = '';
    else if (/\.delta$/.test(e.type)) item.parts[at] += e.delta;
    else if (/(text|refusal|arguments|input)\.done$/.test(e.type)) assert.equal(e.text ?? e.refusal ?? e.arguments ?? e.input, item.parts[at]);
    else assert.match(e.type, /part\.done$|annotation\.added$/);
  }
  assert.deepEqual(items.filter((i) => i.open), []);
  assert.deepEqual(items.map((i) => i.done), last.response.output);
  return checkResponse(last.response, status);
}

export const textOf = (response) => response.output.filter((i) => i.type === 'message').flatMap((i) => i.content.map((c) => c.text ?? c.refusal)).join('');
