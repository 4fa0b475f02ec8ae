// A real issuer of OpenID Connect, whose keys are changed while it serves.
//
//     node issuer.mjs PORT PACKAGES
//
// PACKAGES is a folder in which `npm install oidc-provider` was run. There is one client, `gateway` with
// the secret `its secret`, which gets tokens for itself: opaque ones, or with `resource=urn:gateway` ones
// that are JWTs. POST /rotate signs by a new key from then on, and publishes it and the one before.

import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [port, packages] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${packages}/package.json`));
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));
const issuer = `http://127.0.0.1:${port}`;

// What is issued outlives a change of keys.
const issued = new Map();
class Adapter {
  constructor(kind) { this.kind = kind; }
  async upsert(id, payload) { issued.set(`${this.kind} ${id}`, payload); }
  async find(id) { return issued.get(`${this.kind} ${id}`); }
  async destroy(id) { issued.delete(`${this.kind} ${id}`); }
  async findByUid() {}
  async findByUserCode() {}
  async consume() {}
  async revokeByGrantId() {}
}

let count = 0;
const kinds = [
  () => [generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'ES256'],
  () => [generateKeyPairSync('rsa', { modulusLength: 2048 }), 'RS256'],
  () => [generateKeyPairSync('ed25519'), 'EdDSA'],
];
function key() {
  const [pair, alg] = kinds[count % kinds.length]();
  count += 1;
  return { ...pair.privateKey.export({ format: 'jwk' }), kid: `key-${count}`, use: 'sig', alg };
}

function provider(keys) {
  const made = new Provider(issuer, {
    adapter: Adapter,
    jwks: { keys },
    clients: [{
      client_id: 'gateway',
      client_secret: 'its secret',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: keys[0].alg,
    }],
    scopes: ['chat'],
    enabledJWA: { idTokenSigningAlgValues: ['ES256', 'RS256', 'EdDSA'] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'chat',
          audience: 'urn:gateway',
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: keys[0].alg } },
        }),
      },
    },
  });
  made.on('server_error', (_, error) => console.error(error));
  return made.callback();
}

let keys = [key()];
let answer = provider(keys);
createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/rotate') {
    keys = [key(), keys[0]];
    answer = provider(keys);
    response.end(keys[0].kid);
    return;
  }
  answer(request, response);
}).listen(Number(port), '127.0.0.1');
