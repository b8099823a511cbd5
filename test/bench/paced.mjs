// Many slow streams through one loop: added delay, memory per stream, CPU per chunk. Rounds take turns (direct, dragoman) because machines are noisy.
// usage: node paced.mjs GATEWAY_BINARY [STREAMS [CHUNKS [GAP_MS [ROUNDS [tls]]]]]
import {spawn} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const [binary, streams = '1000', chunks = '40', gap = '250', rounds = '3', tls = ''] = process.argv.slice(2);
const firstLine = (child) => new Promise((resolve) => {
  let text = '';
  child.stdout.on('data', (piece) => {
    text += piece;
    if (text.includes('\n')) resolve(text.split('\n')[0]);
  });
});

const upstream = spawn(process.execPath, [join(here, 'paced-upstream.mjs'), tls]);
const [site, ca] = (await firstLine(upstream)).split(' ');
const directory = mkdtempSync(join(tmpdir(), 'dragoman-bench-'));
const file = join(directory, 'gateway.toml');
writeFileSync(file, `[server]\nlisten = ["127.0.0.1:0"]\nlog_level = "error"\ndata_dir = "${directory}"\n
[[sites]]\nname = "up"\nadapter = "openai"\nbase_url = "${site}"\npool = { max = 0 }\n${ca ? `ca_file = "${ca}"\n` : ''}`, {mode: 0o600});
const gateway = spawn(binary, ['-c', file], {stdio: ['ignore', 'pipe', 'inherit']});
const base = (await firstLine(gateway)).match(/http:\S+/)[0];

const status = (name) => Number(readFileSync(`/proc/${gateway.pid}/status`, 'utf8').match(new RegExp(`${name}:\\s+(\\d+)`))[1]);
const cpu = () => {
  const fields = readFileSync(`/proc/${gateway.pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10; // ms, at 100 ticks a second
};

async function run(url, model) {
  const client = spawn(process.execPath, [join(here, 'paced-client.mjs'), url, streams, chunks, gap, model], {env: {...process.env, ...(ca ? {NODE_EXTRA_CA_CERTS: ca} : {})}});
  let peak = 0;
  const watch = setInterval(() => (peak = Math.max(peak, status('VmRSS'))), 200);
  const line = await firstLine(client);
  clearInterval(watch);
  return {...JSON.parse(line), peak};
}

const idle = status('VmRSS');
console.log(`${streams} streams of ${chunks} chunks, one every ${gap} ms; delays in microseconds${tls ? '; TLS to the site' : ''}`);
for (let round = 1; round <= Number(rounds); round++) {
  const direct = await run(site, 'paced');
  const before = cpu();
  const through = await run(base, 'up/paced');
  const perChunk = ((cpu() - before) * 1000) / through.chunks;
  console.log(`round ${round}  direct   p50 ${direct.p50}  p90 ${direct.p90}  p99 ${direct.p99}  max ${direct.max}  broken ${direct.broken}`);
  console.log(`round ${round}  dragoman p50 ${through.p50}  p90 ${through.p90}  p99 ${through.p99}  max ${through.max}  broken ${through.broken}` +
    `  CPU ${perChunk.toFixed(2)} us/chunk  memory ${((through.peak - idle) / Number(streams)).toFixed(1)} KiB/stream`);
}
gateway.kill('SIGTERM');
upstream.kill('SIGTERM');
rmSync(directory, {recursive: true, force: true});
