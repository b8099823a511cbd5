// Certificates for the stand-ins, made anew for every run: an authority, a good server, an object storage at its public name, an
// expired one, one for another host, and one that nobody has signed.
import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

let made;

function openssl(directory, ...args) {
  execFileSync('openssl', args, {cwd: directory, stdio: ['ignore', 'ignore', 'pipe']});
}

function makeKey(directory, name) {
  openssl(directory, 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', `${name}.key`);
}

// `openssl ca` is the one command that can date a certificate back.
function sign(directory, name, names, from, to) {
  writeFileSync(join(directory, `${name}.ext`),
    `basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=${names}\n`);
  openssl(directory, 'req', '-new', '-key', `${name}.key`, '-subj', `/CN=${name}`, '-out', `${name}.csr`);
  openssl(directory, 'ca', '-batch', '-config', 'ca.cnf', '-in', `${name}.csr`, '-out', `${name}.pem`,
    '-extfile', `${name}.ext`, '-startdate', from, '-enddate', to, '-notext');
}

const stamp = (days) => new Date(Date.now() + days * 86400e3).toISOString().replace(/[-:T]/g, '').slice(2, 14) + 'Z';

/** {directory, ca (path), caText, good, storage, expired, wrongHost, selfSigned}; the latter five are {key, cert} for node's https. */
export function certificates() {
  if (made) return made;
  const directory = mkdtempSync(join(tmpdir(), 'dragoman-certs-'));
  process.on('exit', () => rmSync(directory, {recursive: true, force: true}));
  writeFileSync(join(directory, 'index.txt'), '');
  writeFileSync(join(directory, 'serial'), '01\n');
  writeFileSync(join(directory, 'ca.cnf'), [
    '[ca]', 'default_ca=here', '[here]', 'database=index.txt', 'serial=serial', 'new_certs_dir=.', 'certificate=ca.pem',
    'private_key=ca.key', 'default_md=sha256', 'policy=any', 'unique_subject=no', '[any]', 'commonName=supplied', ''].join('\n'));
  makeKey(directory, 'ca');
  openssl(directory, 'req', '-x509', '-new', '-key', 'ca.key', '-subj', '/CN=dragoman test authority', '-days', '3',
    '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-out', 'ca.pem');
  for (const name of ['good', 'storage', 'expired', 'wronghost', 'selfsigned']) makeKey(directory, name);
  const here = 'DNS:localhost,IP:127.0.0.1';
  sign(directory, 'good', here, stamp(-1), stamp(2));
  sign(directory, 'storage', 'DNS:bucket.oss-accelerate.aliyuncs.com', stamp(-1), stamp(2));
  sign(directory, 'expired', here, stamp(-10), stamp(-1));
  sign(directory, 'wronghost', 'DNS:other.example', stamp(-1), stamp(2));
  openssl(directory, 'req', '-x509', '-new', '-key', 'selfsigned.key', '-subj', '/CN=localhost', '-days', '3',
    '-addext', `subjectAltName=${here}`, '-out', 'selfsigned.pem');
  const pair = (name) => ({
    key: readFileSync(join(directory, `${name}.key`)), cert: readFileSync(join(directory, `${name}.pem`)),
  });
  made = {
    directory, ca: join(directory, 'ca.pem'), caText: readFileSync(join(directory, 'ca.pem'), 'utf8'),
    good: pair('good'), storage: pair('storage'), expired: pair('expired'), wrongHost: pair('wronghost'), selfSigned: pair('selfsigned'),
  };
  return made;
}
