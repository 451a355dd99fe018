// Who may call what, as a table; and that what is not understood never allows and always denies.

import type { MessageInitShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { AuthorizationSchema } from '../../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { AuthorizationRuleSchema } from '../../../proto/gen/weft/policy/v1/authorization_pb.js';
import { AuthorizationAction } from '../../../proto/gen/weft/policy/v1/authorization_pb.js';
import { assembleAuthorization, compileAuthorization } from '../../../sidecar/filters/authorization/compile.ts';
import type { PeerIdentity } from '../../../sidecar/filters/authorization/run.ts';
import { authorize } from '../../../sidecar/filters/authorization/run.ts';

type Rule = MessageInitShape<typeof AuthorizationRuleSchema>;
const { ALLOW, DENY } = AuthorizationAction;

const regex = (source: string) => (source === '(' ? { error: 'unclosed group' } : new RegExp(`^(?:${source})$`));

function peer(account: string, namespace = 'shop', trustDomain = 'mesh.test'): PeerIdentity {
  return { spiffeId: `spiffe://${trustDomain}/ns/${namespace}/sa/${account}`, trustDomain, namespace };
}

function policy(name: string, action: number, rules: Rule[], services = ['shop/orders']) {
  return compileAuthorization(create(AuthorizationSchema, { name, services, action, rules }), regex);
}

function decide(
  policies: ReturnType<typeof policy>[],
  caller: PeerIdentity | null,
  method = 'GET',
  path = '/',
  port = 80,
) {
  const service = assembleAuthorization(
    'shop/orders',
    'mesh.test',
    policies.map((compiled) => compiled.policy),
  );
  return authorize(service, caller, method, path, port);
}

const byId = (account: string, namespace = 'shop') => ({
  caller: { case: 'spiffeId' as const, value: `spiffe://mesh.test/ns/${namespace}/sa/${account}` },
});
const byNamespace = (value: string) => ({ caller: { case: 'namespace' as const, value } });
const path = (kind: 'exact' | 'prefix' | 'regex', value: string) => ({ match: { case: kind, value } });

describe('without a policy', () => {
  test.each<[string, PeerIdentity | null, boolean]>([
    ['own namespace', peer('web'), true],
    ['other namespace', peer('web', 'ops'), false],
    ['own namespace of another trust domain', peer('web', 'shop', 'evil.test'), false],
    ['nobody', null, false],
  ])('%s', (_, caller, allowed) => {
    expect(decide([], caller).allowed).toBe(allowed);
  });

  test('a policy for another Service is none', () => {
    expect(decide([policy('shop/p', DENY, [], ['shop/cart'])], peer('web')).allowed).toBe(true);
  });

  test('a DENY alone does not close the rest', () => {
    const deny = policy('shop/d', DENY, [{ from: [byId('bad')] }]);
    expect(decide([deny], peer('bad'))).toEqual({ allowed: false, rule: 'shop/d#rule-0' });
    expect(decide([deny], peer('web')).allowed).toBe(true);
  });
});

describe('with ALLOW and DENY', () => {
  const allow = policy('shop/a', ALLOW, [
    {
      name: 'web',
      from: [byId('web')],
      to: [{ methods: ['GET', 'HEAD'], paths: [path('prefix', '/api')], ports: [80] }],
    },
    { name: 'ops', from: [byNamespace('ops')] },
    { name: 'open', to: [{ paths: [path('exact', '/healthz')] }] },
  ]);
  const deny = policy('shop/d', DENY, [
    { name: 'admin', to: [{ paths: [path('prefix', '/admin')] }] },
    { name: 'eve', from: [byId('eve', 'ops')] },
  ]);
  test.each<[string, PeerIdentity | null, string, string, number, boolean, string]>([
    ['by id', peer('web'), 'GET', '/api/x', 80, true, 'shop/a#web'],
    ['other method', peer('web'), 'POST', '/api/x', 80, false, '(no ALLOW matches)'],
    ['methods are case-sensitive', peer('web'), 'get', '/api/x', 80, false, '(no ALLOW matches)'],
    ['other port', peer('web'), 'GET', '/api/x', 81, false, '(no ALLOW matches)'],
    ['other path', peer('web'), 'GET', '/x', 80, false, '(no ALLOW matches)'],
    ['own namespace no longer suffices', peer('cart'), 'GET', '/api', 80, false, '(no ALLOW matches)'],
    ['by namespace', peer('any', 'ops'), 'POST', '/x', 81, true, 'shop/a#ops'],
    [
      'namespace of another trust domain',
      peer('any', 'ops', 'evil.test'),
      'GET',
      '/x',
      80,
      false,
      '(no ALLOW matches)',
    ],
    ['anyone, without identity', null, 'GET', '/healthz', 80, true, 'shop/a#open'],
    ['DENY before ALLOW', peer('any', 'ops'), 'GET', '/admin/x', 80, false, 'shop/d#admin'],
    ['DENY by id', peer('eve', 'ops'), 'GET', '/healthz', 80, false, 'shop/d#eve'],
    [
      'no path is known: a DENY by path holds',
      peer('any', 'ops'),
      'CONNECT',
      '',
      80,
      false,
      'shop/d#admin (an opaque connection has no method or path to judge)',
    ],
  ])('%s', (_, caller, method, url, port, allowed, rule) => {
    expect(decide([allow, deny], caller, method, url, port)).toEqual({ allowed, rule });
  });

  test('an ALLOW without rules allows nothing, a DENY without rules denies everything', () => {
    expect(decide([policy('shop/a', ALLOW, [])], peer('web')).allowed).toBe(false);
    expect(decide([policy('shop/d', DENY, []), policy('shop/a', ALLOW, [{}])], peer('web')).allowed).toBe(false);
  });

  test('ALLOW with an empty rule allows anyone', () => {
    expect(decide([policy('shop/a', ALLOW, [{}])], null).allowed).toBe(true);
  });
});

describe('CVE class 10: what is not understood', () => {
  test.each<[string, Rule, string]>([
    ['caller of an unknown case', { from: [{}] }, 'rules[0].from[0]'],
    ['known and unknown caller', { from: [byId('web'), {}] }, 'rules[0].from[1]'],
    ['short account', { from: [{ caller: { case: 'serviceAccount', value: 'web' } }] }, 'rules[0].from[0]'],
    ['path of an unknown case', { to: [{ paths: [{}] }] }, 'rules[0].to[0].paths[0]'],
    ['bad regex', { to: [{ paths: [path('regex', '(')] }] }, 'rules[0].to[0].paths[0].regex'],
    ['path that can never come', { to: [{ paths: [path('exact', '/%61dmin')] }] }, 'rules[0].to[0].paths[0].exact'],
    ['empty method', { to: [{ methods: [''] }] }, 'rules[0].to[0].methods[0]'],
  ])('%s: never allows, always denies, is reported', (_, rule, at) => {
    const allow = policy('shop/a', ALLOW, [rule]);
    const deny = policy('shop/d', DENY, [rule]);
    expect(allow.errors.map((error) => error.path)).toEqual([at]);
    expect(deny.errors.map((error) => error.path)).toEqual([at]);
    expect(decide([allow], peer('web')).allowed).toBe(false);
    expect(decide([deny, policy('shop/ok', ALLOW, [{}])], peer('web'))).toEqual({
      allowed: false,
      rule: 'shop/d#rule-0',
    });
  });

  test.each([
    ['policy', (m: Message) => m],
    ['rule', (m: Message) => m.rules[0]],
    ['caller', (m: Message) => m.rules[0]?.from[0]],
    ['operation', (m: Message) => m.rules[0]?.to[0]],
    ['match', (m: Message) => m.rules[0]?.to[0]?.paths[0]],
  ])('an unknown field of a %s', (_, at) => {
    for (const action of [ALLOW, DENY]) {
      const message = whole(action);
      const part = at(message);
      if (part === undefined) throw new Error('no such part');
      part.$unknown = [{ no: 77, wireType: 0, data: new Uint8Array([1]) }];
      const compiled = compileAuthorization(message, regex);
      expect(compiled.errors).toHaveLength(1);
      const others = action === DENY ? [policy('shop/ok', ALLOW, [{}])] : [];
      expect(decide([compiled, ...others], peer('web'), 'GET', '/x').allowed).toBe(false);
    }
    expect(decide([compileAuthorization(whole(ALLOW), regex)], peer('web'), 'GET', '/x').allowed).toBe(true);
  });

  test.each([0, 3, 99])('action %d denies everything', (action) => {
    const compiled = policy('shop/p', action, [{ from: [byId('other')] }]);
    expect(compiled.errors.map((error) => error.path)).toEqual(['action']);
    expect(decide([compiled, policy('shop/ok', ALLOW, [{}])], peer('web')).allowed).toBe(false);
  });
});

type Message = ReturnType<typeof whole>;

function whole(action: AuthorizationAction) {
  return create(AuthorizationSchema, {
    name: 'shop/w',
    services: ['shop/orders'],
    action,
    rules: [{ from: [byId('web')], to: [{ paths: [path('exact', '/x')] }] }],
  });
}
