// An OpenID Provider in a process of its own, with what the tests want to do to
// it: rotation on or off (ROTATE), a store that outlives a kill, people who are
// disabled, consents that are withdrawn.
//
//   PORT    where it listens, on loopback
//   ISSUER  its public address, which may be that of a proxy
//   APP     the address of the site that is its client
//   FILE    where it keeps its records
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { Provider } from 'oidc-provider';

const { PORT, ISSUER, APP, FILE, ROTATE } = process.env;

// Records by model and id. Every write is on disk before it is answered.
let records = {};
let disabled = [];
try {
  ({ records, disabled } = JSON.parse(readFileSync(FILE, 'utf8')));
} catch (err) {
  if (err.code !== 'ENOENT') throw err;
}

function save() {
  const fd = openSync(`${FILE}.new`, 'w');
  writeSync(fd, JSON.stringify({ records, disabled }));
  fsyncSync(fd);
  closeSync(fd);
  renameSync(`${FILE}.new`, FILE);
}

class Adapter {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  where(match) {
    const found = Object.entries(records).find(([key, r]) => key.startsWith(`${this.model}:`) && match(r));
    return found && found[1];
  }
  async upsert(id, payload) { records[this.key(id)] = payload; save(); }
  async find(id) { return records[this.key(id)]; }
  async findByUid(uid) { return this.where((r) => r.uid === uid); }
  async findByUserCode(code) { return this.where((r) => r.userCode === code); }
  async consume(id) { records[this.key(id)].consumed = Math.floor(Date.now() / 1000); save(); }
  async destroy(id) { delete records[this.key(id)]; save(); }
  async revokeByGrantId(grantId) {
    for (const [key, r] of Object.entries(records)) if (r.grantId === grantId) delete records[key];
    save();
  }
}

const provider = new Provider(ISSUER, {
  adapter: Adapter,
  clients: [{
    client_id: 'files',
    client_secret: 'files-demo-secret',
    redirect_uris: [`${APP}/.nightlatch/callback`],
    grant_types: ['authorization_code', 'refresh_token'],
  }],
  scopes: ['openid', 'offline_access', 'profile', 'email'],
  claims: { profile: ['preferred_username'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: false,
  rotateRefreshToken: ROTATE === 'on',
  ttl: { AccessToken: 1, RefreshToken: 30 * 24 * 3600, Session: 3600, Grant: 30 * 24 * 3600, IdToken: 300, Interaction: 600 },
  cookies: { keys: ['for tests only'] },
  features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  async findAccount(_ctx, id) {
    if (disabled.includes(id)) return undefined;
    return { accountId: id, claims: async () => ({ sub: id, preferred_username: id, email: `${id}@example.com`, email_verified: true }) };
  },
});

function page(ctx, id, fields) {
  ctx.type = 'html';
  ctx.body = `<form id="${id}" method="post" action="${ctx.path}">${fields}</form>`;
}

async function form(ctx) {
  const chunks = [];
  for await (const chunk of ctx.req) chunks.push(chunk);
  return new URLSearchParams(Buffer.concat(chunks).toString());
}

provider.use(async (ctx, next) => {
  if (ctx.path === '/control' && ctx.method === 'POST') {
    const wish = await form(ctx);
    const who = wish.get('user');
    switch (wish.get('do')) {
      case 'disable': disabled.push(who); break;
      case 'enable': disabled = disabled.filter((d) => d !== who); break;
      case 'withdraw': // the person takes the consent away
        for (const [key, r] of Object.entries(records)) if (r.accountId === who && /^(Grant|RefreshToken|AccessToken):/.test(key)) delete records[key];
        break;
      default: ctx.throw(400);
    }
    save();
    ctx.status = 204;
    return;
  }
  if (!ctx.path.startsWith('/interaction/')) { await next(); return; }
  const { prompt, params, session, grantId } = await provider.interactionDetails(ctx.req, ctx.res);
  if (ctx.method === 'GET') {
    if (prompt.name === 'login') page(ctx, 'login', '<input name="username"><input name="password">');
    else page(ctx, 'consent', '<button name="accept" value="yes">');
    return;
  }
  const answer = await form(ctx);
  let result;
  if (prompt.name === 'login') {
    result = { login: { accountId: answer.get('username') } };
  } else {
    const grant = (grantId && await provider.Grant.find(grantId)) || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    result = { consent: { grantId: await grant.save() } };
  }
  await provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
  ctx.respond = false;
});

provider.listen(Number(PORT), '127.0.0.1');
