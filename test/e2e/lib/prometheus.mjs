// Reads Prometheus' text format 0.0.4 as strictly as `promtool check metrics` does; throws at what is wrong.
const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)/y;
const UNESCAPED = {'\\\\': '\\', '\\"': '"', '\\n': '\n'};

function readLabels(text, line) {
  const labels = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < text.length) {
    const match = LABEL.exec(text);
    if (!match) throw new Error(`bad labels: ${line}`);
    if (match[1] in labels) throw new Error(`label twice: ${line}`);
    labels[match[1]] = match[2].replace(/\\[\\"n]/g, (escape) => UNESCAPED[escape]);
  }
  if (text.endsWith(',')) throw new Error(`comma at the end: ${line}`);
  return labels;
}

function readSample(line) {
  const match = /^([^{\s]+)(?:\{(.*)\})? (\S+)$/.exec(line);
  if (!match || !NAME.test(match[1])) throw new Error(`no sample: ${line}`);
  const value = match[3] === '+Inf' ? Infinity : Number(match[3]);
  if (Number.isNaN(value)) throw new Error(`no number: ${line}`);
  return {name: match[1], labels: readLabels(match[2] ?? '', line), value};
}

const familyOf = (families, name) => families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''));

function checkHistogram(family) {
  const series = new Map();
  for (const sample of family.samples) {
    const {le, ...rest} = sample.labels, key = JSON.stringify(rest);
    series.set(key, [...(series.get(key) ?? []), sample]);
  }
  for (const [key, samples] of series) {
    const buckets = samples.filter(({name}) => name.endsWith('_bucket'));
    const bounds = buckets.map(({labels}) => (labels.le === '+Inf' ? Infinity : Number(labels.le)));
    const count = samples.find(({name}) => name.endsWith('_count'))?.value;
    if (!samples.some(({name}) => name.endsWith('_sum'))) throw new Error(`${family.name}${key} has no sum`);
    for (let i = 1; i < buckets.length; i++) {
      if (!(bounds[i] > bounds[i - 1])) throw new Error(`${family.name}${key}: bounds do not rise`);
      if (buckets[i].value < buckets[i - 1].value) throw new Error(`${family.name}${key}: buckets fall`);
    }
    if (bounds.at(-1) !== Infinity || buckets.at(-1).value !== count) throw new Error(`${family.name}${key}: +Inf is not the count`);
  }
}

// Families by name: {name, type, help, samples: [{name, labels, value}]}.
export function parsePrometheus(text) {
  const families = new Map();
  const seen = new Set();
  let current = null;
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (comment?.[1] === 'HELP') {
      if (families.has(comment[2])) throw new Error(`family twice: ${line}`);
      if (!NAME.test(comment[2])) throw new Error(`bad name: ${line}`);
      current = {name: comment[2], help: comment[3], type: null, samples: []};
      families.set(current.name, current);
    } else if (comment) {
      if (current?.name !== comment[2] || current.type || current.samples.length) throw new Error(`TYPE out of place: ${line}`);
      if (!['counter', 'gauge', 'histogram'].includes(comment[3])) throw new Error(`unknown type: ${line}`);
      current.type = comment[3];
    } else {
      const sample = readSample(line);
      if (familyOf(families, sample.name) !== current) throw new Error(`sample outside its family: ${line}`);
      const key = JSON.stringify([sample.name, Object.entries(sample.labels).sort()]);
      if (seen.has(key)) throw new Error(`sample twice: ${line}`);
      seen.add(key);
      current.samples.push(sample);
    }
  }
  for (const family of families.values()) {
    if (!family.type) throw new Error(`${family.name} has no TYPE`);
    if (family.type === 'counter' && !family.name.endsWith('_total')) throw new Error(`${family.name} is a counter`);
    if (family.type === 'counter' && family.samples.some(({value}) => value < 0)) throw new Error(`${family.name} is negative`);
    if (family.type === 'histogram') checkHistogram(family);
  }
  return families;
}

// The one sample with (at least) these labels; undefined when there is none.
export function valueOf(families, name, labels = {}) {
  const wanted = Object.entries(labels);
  const fits = familyOf(families, name)?.samples.filter((s) => s.name === name && wanted.every(([k, v]) => s.labels[k] === v)) ?? [];
  if (fits.length > 1) throw new Error(`${name} ${JSON.stringify(labels)}: ${fits.length} samples`);
  return fits[0]?.value;
}
