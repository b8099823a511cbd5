// What a pass-through route adds to a stream, compared with nginx as a plain reverse proxy: delay of each chunk, CPU per chunk. Both stand
// before the same upstream (TLS to it, plain HTTP before it) and take turns within each round, because machines are noisy: quote the ratios.
// usage: node passage.mjs GATEWAY_BINARY [STREAMS [CHUNKS [GAP_MS [ROUNDS]]]]
import {spawn} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import net from 'node:net';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const [binary, streams = '100', chunks = '100', gap = '50', rounds = '5'] = process.argv.slice(2);
const firstLine = (child) => new Promise((resolve) => {
  let text = '';
  child.stdout.on('data', (piece) => {
    text += piece;
    if (text.includes('\n')) resolve(text.split('\n')[0]);
  });
});
const freePort = () => new Promise((resolve) => {
  const server = net.createServer().listen(0, '127.0.0.1', () => {
    const {port} = server.address();
    server.close(() => resolve(port));
  });
});
const open = (port) => new Promise((resolve) => {
  const socket = net.connect(port, '127.0.0.1', () => resolve(true) || socket.destroy()).on('error', () => resolve(false));
});

const upstream = spawn(process.execPath, [join(here, 'paced-upstream.mjs'), 'tls']);
const [site, ca] = (await firstLine(upstream)).split(' ');
const origin = new URL(site).origin, directory = mkdtempSync(join(tmpdir(), 'dragoman-bench-'));

const file = join(directory, 'gateway.toml');
writeFileSync(file, `[server]\nlisten = ["127.0.0.1:0"]\nlog_level = "error"\ndata_dir = "${directory}"\n
[[routes]]\npreset = "openai"\nupstream = "${origin}"\nca_file = "${ca}"\nkey = "sk-of-the-account-0123456789"\npool = { max = 0, max_idle = 0 }\n`, {mode: 0o600});
const gateway = spawn(binary, ['-c', file], {stdio: ['ignore', 'pipe', 'inherit']});
const base = (await firstLine(gateway)).match(/http:\/\/[^/]+/)[0];

const port = await freePort(), conf = join(directory, 'nginx.conf');
mkdirSync(join(directory, 'logs'));
writeFileSync(conf, `worker_processes 1;
daemon off;
master_process off;
error_log ${directory}/error.log crit;
pid ${directory}/nginx.pid;
events { worker_connections 16384; }
http {
  access_log off;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((n) => `${n}_temp_path ${directory}/${n};`).join('\n  ')}
  upstream site { server localhost:${new URL(site).port}; keepalive 1000; }
  server {
    listen 127.0.0.1:${port} backlog=8192;
    location / {
      proxy_pass https://site;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host localhost:${new URL(site).port};
      proxy_set_header Authorization "Bearer sk-of-the-account-0123456789";
      proxy_ssl_verify on;
      proxy_ssl_name localhost;
      proxy_ssl_server_name on;
      proxy_ssl_trusted_certificate ${ca};
      proxy_buffering off;
      proxy_request_buffering off;
    }
  }
}
`);
const program = existsSync('/usr/sbin/nginx') ? '/usr/sbin/nginx' : 'nginx';
const nginx = spawn(program, ['-c', conf, '-p', directory], {stdio: ['ignore', 'inherit', 'inherit']});
while (!(await open(port))) await new Promise((r) => setTimeout(r, 20));

const cpu = (pid) => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10; // ms, at 100 ticks a second
};
const memory = (pid) => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmHWM:\s+(\d+)/)[1]);

async function run(url, pid) {
  const before = cpu(pid);
  const client = spawn(process.execPath, [join(here, 'paced-client.mjs'), url, streams, chunks, gap, 'paced'], {env: {...process.env, NODE_EXTRA_CA_CERTS: ca}});
  const result = JSON.parse(await firstLine(client));
  return {...result, cpu: ((cpu(pid) - before) * 1000) / result.chunks};
}

const ways = {nginx: [`http://127.0.0.1:${port}/v1`, nginx.pid], dragoman: [`${base}/openai/v1`, gateway.pid]};
console.log(`${streams} streams of ${chunks} chunks, one every ${gap} ms; TLS to the upstream; delays from stamp to client in microseconds`);
const ratios = [];
for (let round = 1; round <= Number(rounds); round++) {
  const direct = await run(site, upstream.pid), got = {};
  const order = round % 2 ? ['nginx', 'dragoman'] : ['dragoman', 'nginx'];
  for (const name of order) got[name] = await run(...ways[name]);
  for (const [name, r] of [['direct', direct], ...Object.entries(got).sort().reverse()]) {
    console.log(`round ${round}  ${name.padEnd(8)} p50 ${r.p50}  p90 ${r.p90}  p99 ${r.p99}  max ${r.max}  broken ${r.broken}` + (name === 'direct' ? '' : `  CPU ${r.cpu.toFixed(1)} us/chunk`));
  }
  ratios.push(['p50', 'p90', 'p99'].map((p) => got.dragoman[p] / got.nginx[p]));
}
const middle = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)];
console.log(`dragoman / nginx, median of ${rounds} interleaved rounds: ${['p50', 'p90', 'p99'].map((p, i) => `${p} ${middle(ratios.map((r) => r[i])).toFixed(2)}`).join('  ')}`);
console.log(`most memory: nginx ${(memory(nginx.pid) / 1024).toFixed(1)} MiB, dragoman ${(memory(gateway.pid) / 1024).toFixed(1)} MiB`);
for (const child of [nginx, gateway, upstream]) child.kill('SIGTERM');
rmSync(directory, {recursive: true, force: true});
